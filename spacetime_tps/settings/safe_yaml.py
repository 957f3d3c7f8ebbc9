"""YAML text that may come from anyone: plain data only, within limits, and the line of each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spacetime_tps.errors import ConfigError

MOST_BYTES = 1_000_000
MOST_NODES = 20_000
"""Keys and values of a file, where each alias counts as all that it stands for."""
MOST_DEPTH = 24
MOST_CHARACTERS = 10_000
"""Characters of a value: selections of atoms and expressions of energies can be long."""
MOST_CHARACTERS_OF_KEY = 200
MOST_CHARACTERS_OF_NUMBER = 64

Where = tuple[str | int, ...]
"""Keys and places in lists that lead to a value."""

_PREFIX = "tag:yaml.org,2002:"
_NUMBERS = {_PREFIX + "int", _PREFIX + "float"}


@dataclass(frozen=True)
class YamlContent:
    """What a YAML file holds.

    Attributes
    ----------
    content : dict
        Text, numbers, booleans and None in lists and in mappings with text as keys.
    lines : mapping
        Line of each value (1 is the first), by the keys that lead to it.
    """

    content: dict[str, Any]
    lines: Mapping[Where, int]


class _Refused(Exception):
    """Text that is not read, and the place of it that is at fault."""

    def __init__(self, message: str, at: yaml.Event | yaml.Node | None) -> None:
        super().__init__(message)
        self.mark = at.start_mark if at is not None else None


def load_yaml(path: Path) -> YamlContent:
    """Content of a YAML file, which is a mapping.

    Duplicate keys, keys that are not text, and tags are refused. So is whatever is larger than the limits of this
    module; aliases are counted before they are expanded.

    Raises
    ------
    ConfigError
        With the file, and the line where it is known.
    """
    text = _read_text(path)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise _Refused(f"expected keys such as 'system:' and 'samples:', found {_kind(node)}", None)
        lines: dict[Where, int] = {}
        return YamlContent(loader.build(node, (), lines), lines)
    except _Refused as error:
        raise ConfigError(f"{path}{_line(error.mark)}: {error}") from error
    except yaml.MarkedYAMLError as error:
        problem = ", ".join(text for text in (error.context, error.problem) if text)
        where = _line(error.problem_mark or error.context_mark)
        raise ConfigError(f"{path}{where}: not valid YAML ({problem})") from error
    except yaml.reader.ReaderError as error:
        character = f"character U+{error.character:04X}" if isinstance(error.character, int) else "a character"
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}, line {line}: not valid YAML ({character} is not allowed)") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{path}: not valid YAML ({type(error).__name__}: {error})") from error


def _read_text(path: Path) -> str:
    try:
        ordinary = path.is_file() or not path.exists()
    except OSError:
        ordinary = True  # a name that is too long: opening it says so
    if not ordinary:
        raise ConfigError(f"{path}: cannot be read (it is not an ordinary file)")
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL character
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{path}: cannot be read (settings have at most {MOST_BYTES:,} bytes)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: cannot be read (it is not UTF-8 text)") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with limits that hold while the text is parsed, and dates left as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in resolvers if tag != _PREFIX + "timestamp"]
            for first, resolvers in self.yaml_implicit_resolvers.items()
        }
        self._depth = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """The next node, once it and what it holds are known to be within the limits."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise _Refused(f"tags such as {_short(event.tag)} are not read; leave it out", event)
        if self._depth > MOST_DEPTH:
            raise _Refused(f"more than {MOST_DEPTH} levels are nested", event)
        if isinstance(event, yaml.ScalarEvent):
            self._check_scalar(event)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        assert node is not None
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _Refused(f"*{_short(event.anchor)} holds itself", event)
        else:
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
            self._sizes[node] = 1 + sum(self._sizes[child] for child in _children(node))
        if self._sizes[node] > MOST_NODES or len(self._sizes) > MOST_NODES:
            raise _Refused(f"there are more than {MOST_NODES:,} keys and values, aliases included", event)
        return node

    def _check_scalar(self, event: yaml.ScalarEvent) -> None:
        if len(event.value) > MOST_CHARACTERS:
            raise _Refused(f"a text has at most {MOST_CHARACTERS:,} characters", event)
        for character in event.value:
            if (character < " " and character not in "\t\n") or "\x7f" <= character < "\xa0":
                raise _Refused(f"character U+{ord(character):04X} is not allowed in a text", event)
            if "\ud800" <= character <= "\udfff":
                raise _Refused(f"U+{ord(character):04X} is no character of its own", event)

    def build(self, node: yaml.Node, where: Where, lines: dict[Where, int]) -> Any:
        """Value of a node; ``lines`` learns where it and its parts stand."""
        lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)
            content = {}
            for key, value in node.value:
                lines[(*where, key.value)] = key.start_mark.line + 1
                content[key.value] = self.build(value, (*where, key.value), lines)
            return content
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*where, index), lines) for index, item in enumerate(node.value)]
        if node.tag in _NUMBERS and len(node.value) > MOST_CHARACTERS_OF_NUMBER:
            raise _Refused(f"a number has at most {MOST_CHARACTERS_OF_NUMBER} characters", node)
        try:
            return self.construct_object(node)
        except (ValueError, OverflowError) as error:
            raise _Refused(f"{_short(node.value)} is not a number; put a text in quotes", node) from error


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse keys that are not text, or that another key of the mapping repeats."""
    first: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _Refused(f"a key must be text, not {_kind(key)}", key)
        if key.tag not in (_PREFIX + "str", _PREFIX + "merge"):
            raise _Refused(
                f"the key {_short(key.value) or 'null'} is not text; put it in quotes",
                key,
            )
        if len(key.value) > MOST_CHARACTERS_OF_KEY:
            raise _Refused(f"a key has at most {MOST_CHARACTERS_OF_KEY} characters", key)
        if key.value in first:
            raise _Refused(
                f"the key {_short(key.value)!r} is given twice, in lines {first[key.value]} and {line}; "
                "remove one of them",
                key,
            )
        first[key.value] = line


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _kind(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if node is None or node.value == "" else "a text"


def _line(mark: Any) -> str:
    return f", line {mark.line + 1}" if mark is not None else ""


def _short(text: object) -> str:
    text = str(text)
    return text if len(text) <= 50 else text[:50] + "…"

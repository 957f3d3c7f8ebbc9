"""The one reader of YAML: what it refuses, with file and line, and how soon."""

from pathlib import Path

import pytest

from spacetime_tps.errors import ConfigError
from spacetime_tps.settings.safe_yaml import MOST_BYTES, MOST_NODES, load_yaml


def read(tmp_path: Path, text: str | bytes):
    path = tmp_path / "some.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_yaml(path)


def alias_bomb(levels: int, width: int) -> str:
    lines = [f"l0: &l0 [{', '.join(['x'] * width)}]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


REFUSED = {
    "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n": r"line 5: the key 'c' is given twice, in lines 3 and 5",
    "{a: 1, 'a': 2}": r"the key 'a' is given twice, in lines 1 and 1",
    "<<: {a: 1}\n<<: {b: 1}": r"the key '<<' is given twice, in lines 1 and 2",
    alias_bomb(10, 9): rf"line 5: there are more than {MOST_NODES:,} keys and values, aliases included",
    "l: &l {a: 1}\n" + "\n".join(f"k{i}: {{<<: [{', '.join(['*l'] * 100)}]}}" for i in range(80)): "aliases included",
    "a: &a [*a]": r"line 1: \*a holds itself",
    "a: *b": r"line 1: not valid YAML \(found undefined alias 'b'\)",
    "a: " + "[" * 100_000: r"line 1: more than 24 levels are nested",
    "\n".join(" " * i + "a:" for i in range(900)): r"line 25: more than 24 levels are nested",
    "a: [" + "1, " * 100_000 + "]": "keys and values",
    "a: " + "x" * 10_001: "a text has at most 10,000 characters",
    "x" * 201 + ": 1": "a key has at most 200 characters",
    "a: " + "1" * 65: "a number has at most 64 characters",
    "a: 0x" + "f" * 9000: "a number has at most 64 characters",
    "a: 0b_": "0b_ is not a number; put a text in quotes",
    "{1: 2}": "the key 1 is not text; put it in quotes",
    "null: 1": "the key null is not text; put it in quotes",
    "on: 1": "the key on is not text",
    "? [a, b]\n: 1": "a key must be text, not a list",
    "? {a: b}\n: 1": "a key must be text, not a mapping",
    "a: !!python/object/apply:os.system [ls]": "tags such as .* are not read",
    "a: !!set {b, c}": "tags such as .* are not read",
    'a: 1\nb: "x\\0y"': r"line 2: character U\+0000 is not allowed in a text",
    'a: "\\ud800"': r"line 1: U\+D800 is no character of its own",
    'a: "\\U99999999"': "not valid YAML",
    "a: 1\nb: \x00": r"line 2: not valid YAML \(character U\+0000 is not allowed\)",
    "a: 1\n---\nb: 2": "line 2: not valid YAML",
    "a: 1\nb: =": "line 2: not valid YAML",
    b"a: 1\nb: \xff": r"line 2: cannot be read \(it is not UTF-8 text\)",
    "#" * (MOST_BYTES + 1): r"settings have at most 1,000,000 bytes",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:30]))
def test_refused_with_file_and_line(tmp_path, text):
    with pytest.raises(ConfigError, match=rf"some\.yaml.*{REFUSED[text]}"):
        read(tmp_path, text)


@pytest.mark.parametrize("name", ["/dev/zero", "/", "x" * 5000, "a\0b"])
def test_what_is_no_file(name):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(Path(name))


def test_lines_of_keys_and_items(tmp_path):
    read_back = read(tmp_path, "a: 1\nb:\n  c: [x,\n    y]\n  d:\n  - e: 2\n")
    assert read_back.content == {"a": 1, "b": {"c": ["x", "y"], "d": [{"e": 2}]}}
    assert read_back.lines["a",] == 1
    assert read_back.lines["b", "c"] == 3
    assert read_back.lines["b", "c", 1] == 4
    assert read_back.lines["b", "d", 0, "e"] == 6


def test_aliases_and_merged_keys_are_read(tmp_path):
    text = "b: &b {x: 1, y: 2}\na: &a {<<: *b, x: 3}\nc: *a\nd: [*a, *b]\n"
    a, b = {"x": 3, "y": 2}, {"x": 1, "y": 2}
    assert read(tmp_path, text).content == {"a": a, "b": b, "c": a, "d": [a, b]}


def test_dates_are_text_and_a_byte_order_mark_is_nothing(tmp_path):
    assert read(tmp_path, "\ufeffa: 2001-01-31\nb: 2001-99-99").content == {"a": "2001-01-31", "b": "2001-99-99"}


def test_as_deep_and_as_long_as_settings_can_be(tmp_path):
    deep = read(tmp_path, "a: " + "[" * 20 + "]" * 20).content["a"]
    for _ in range(19):
        (deep,) = deep
    assert deep == []
    assert read(tmp_path, f"a: {'x' * 10_000}").content["a"] == "x" * 10_000

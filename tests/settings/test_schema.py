"""What settings there are: each is described with its unit and has limits, and none changes unnoticed."""

import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
import pytest
from pydantic.fields import FieldInfo

from spacetime_tps.settings.base import Settings
from spacetime_tps.settings.files import all_models
from spacetime_tps.settings.units import In

SNAPSHOT = Path(__file__).with_name("schema.json")
UNITS = {"kelvin": "in K", "nm": "in nm", "nm**2": "in nm²", "1/nm**2": "in 1/nm²", "rad": "in rad", "amu": "in amu"}
FIELDS = [
    pytest.param(model, name, id=f"{model.__name__}.{name}")
    for model in all_models()[1:]
    if model.__module__.startswith("spacetime_tps.")
    for name in model.model_fields
]


def leaves(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Plain types within an annotation, each with the metadata around it."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inner, *around = typing.get_args(annotation)
        yield from leaves(inner, (*metadata, *around))
    elif origin in (tuple, list, dict, typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            yield from leaves(argument, metadata)
    else:
        yield annotation, metadata


def flat(metadata: tuple[Any, ...]) -> list[Any]:
    """Metadata with what pydantic's fields and intervals hold."""
    found: list[Any] = []
    for item in metadata:
        found += flat(tuple(item.metadata)) if isinstance(item, FieldInfo) else [item]
    return found


def quantities(field: FieldInfo) -> list[tuple[Any, list[Any]]]:
    """Types within a field, with their metadata."""
    return [(kind, flat(metadata)) for kind, metadata in leaves(field.annotation, tuple(field.metadata))]


@pytest.mark.parametrize("model, name", FIELDS)
def test_described(model: type[Settings], name: str):
    field = model.model_fields[name]
    assert field.description, f"describe {model.__name__}.{name}: what it is, with its unit"
    for _, metadata in quantities(field):
        for unit in (item.unit for item in metadata if isinstance(item, In)):
            assert UNITS.get(unit, f"in {unit}") in field.description


@pytest.mark.parametrize("model, name", FIELDS)
def test_numbers_have_limits(model: type[Settings], name: str):
    for kind, metadata in quantities(model.model_fields[name]):
        if kind in (int, float):
            below = [item for item in metadata if isinstance(item, annotated_types.Ge | annotated_types.Gt)]
            above = [item for item in metadata if isinstance(item, annotated_types.Le | annotated_types.Lt)]
            assert below and above, f"give {model.__name__}.{name} a lowest and a highest value (ge, le)"


def schema() -> dict[str, Any]:
    """Fields of each class of settings: types, limits and defaults, without descriptions."""
    found: dict[str, Any] = {}
    for model in all_models()[1:]:
        if model.__module__.startswith("spacetime_tps."):
            content = model.model_json_schema()
            found[model.__name__] = {name: without_texts(field) for name, field in content["properties"].items()}
            for name in content.get("required", []):
                found[model.__name__][name]["required"] = True
            for field in found[model.__name__].values():
                if isinstance(field.get("default"), dict):  # of another class, which is in the schema itself
                    del field["default"]
    return dict(sorted(found.items()))


def without_texts(content: Any) -> Any:
    """A part of a schema without its descriptions and titles."""
    if isinstance(content, dict):
        texts = {key for key in ("title", "description") if isinstance(content.get(key), str)}
        return {key: without_texts(value) for key, value in content.items() if key not in texts}
    return [without_texts(item) for item in content] if isinstance(content, list) else content


def test_unchanged():
    before, now = json.loads(SNAPSHOT.read_text()), schema()
    changed = [
        f"{model}.{name}: {before.get(model, {}).get(name)} → {now.get(model, {}).get(name)}"
        for model in sorted(before.keys() | now.keys())
        for name in sorted(before.get(model, {}).keys() | now.get(model, {}).keys())
        if before.get(model, {}).get(name) != now.get(model, {}).get(name)
    ]
    assert not changed, "\n".join(
        [
            "the settings are others than those of schema.json:",
            *changed,
            "Users' files and the config.yaml of earlier runs may no longer be read. If this is meant, say so in "
            "CHANGELOG.md and write the new schema by 'python tests/settings/test_schema.py'",
        ]
    )


if __name__ == "__main__":
    lines = [
        f"{json.dumps(model)}: {{\n"
        + ",\n".join(f"  {json.dumps(name)}: {json.dumps(field)}" for name, field in fields.items())
        + "\n}"
        for model, fields in schema().items()
    ]
    SNAPSHOT.write_text("{\n" + ",\n".join(lines) + "\n}\n")

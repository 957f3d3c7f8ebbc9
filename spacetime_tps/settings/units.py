"""Quantities with units in YAML, plain floats in OpenMM's units inside.

Inside the package lengths are nm, times ps, energies kJ/mol, temperatures K, masses amu and angles rad.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import pint
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

MOLAR_GAS_CONSTANT = 0.00831446261815324
"""Boltzmann's constant per mole, kJ/(mol K)."""

_NUMBER = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)"
_NUMBER_AND_UNIT = re.compile(rf"{_NUMBER}\s*(?:[*/]|1\s*/)?\s*[^\W\d].*")


@cache
def _registry() -> pint.UnitRegistry[float]:
    return pint.UnitRegistry()


@dataclass(frozen=True)
class In:
    """Pydantic annotation: text such as ``"300 K"`` becomes a float in ``unit``, and text again in JSON or YAML."""

    unit: str

    def parse(self, value: Any) -> float:
        """Magnitude of ``value`` in this unit; plain numbers are refused, for they hide their unit."""
        if isinstance(value, bool) or not isinstance(value, str):
            raise ValueError(f"{value!r} has no unit; write a text such as '{value} {self.unit}'")
        if re.fullmatch(_NUMBER, value.strip()):
            raise ValueError(f"{value!r} has no unit; write '{value} {self.unit}'")
        if not _NUMBER_AND_UNIT.fullmatch(value.strip()):
            raise ValueError(f"{value!r} is not a number with a unit such as '1 {self.unit}'")
        try:
            quantity: pint.Quantity[float] = _registry().Quantity(value)
        except pint.UndefinedUnitError as error:
            raise ValueError(f"unknown unit in {value!r}: {error}") from error
        except Exception as error:
            raise ValueError(f"{value!r} is not a number with a unit such as '1 {self.unit}'") from error
        if quantity.unitless or not quantity.units:
            raise ValueError(f"{value!r} has no unit; write '{value} {self.unit}'")
        try:
            return float(quantity.to(self.unit).magnitude)
        except pint.DimensionalityError as error:
            raise ValueError(f"{value!r} cannot be converted to {self.unit}") from error

    def format(self, value: float) -> str:
        """Text that :meth:`parse` reads back without loss."""
        return f"{value!r} {self.unit}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Parse before pydantic's own checks (bounds, finiteness), format when dumped as JSON."""
        return core_schema.no_info_before_validator_function(
            self.parse,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(self.format, when_used="json"),
        )


Length = Annotated[float, In("nm")]
Area = Annotated[float, In("nm**2")]
Time = Annotated[float, In("ps")]
Rate = Annotated[float, In("1/ps")]
Temperature = Annotated[float, In("kelvin")]
Mass = Annotated[float, In("amu")]
Angle = Annotated[float, In("rad")]
InverseArea = Annotated[float, In("1/nm**2")]

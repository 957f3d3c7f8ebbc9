"""Quantities with units in YAML, plain floats in OpenMM's units inside.

Inside the package lengths are nm, times ps, energies kJ/mol, temperatures K, masses amu and angles rad.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, Any

import pint
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, ValidatorFunctionWrapHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

MOLAR_GAS_CONSTANT = 0.00831446261815324
"""Boltzmann's constant per mole, kJ/(mol K)."""

MOST_CHARACTERS = 64
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?"
_FACTOR = r"[A-Za-zµμÅÅ°_]+(?:\s*(?:\*\*|\^)\s*[-+]?[0-9])?"
_QUANTITY = re.compile(rf"({_NUMBER})\s*\*?\s*((?:1?\s*/\s*)?{_FACTOR}(?:\s*[*/]\s*{_FACTOR})*)")


@cache
def _registry() -> pint.UnitRegistry[float]:
    return pint.UnitRegistry()


@lru_cache(maxsize=256)
def _unit(text: str) -> pint.Unit:
    """A unit of :data:`_FACTOR`'s grammar. pint reads nothing else, for it evaluates what it reads."""
    return _registry().parse_units(text)


@dataclass(frozen=True)
class In:
    """Pydantic annotation: text such as ``"300 K"`` becomes a float in ``unit``, and text again in JSON or YAML."""

    unit: str

    def parse(self, value: Any) -> float:
        """Magnitude of ``value`` in this unit; plain numbers are refused, for they hide their unit.

        A quantity is a number and a unit: factors joined by ``*`` or ``/``, each with a power of one digit at most.

        Raises
        ------
        ValueError
            If it is anything else, has another dimension, or is not finite.

        Examples
        --------
        >>> round(In("kJ/mol").parse("1 kcal/mol"), 3)
        4.184
        >>> In("nm").parse("1.5")
        Traceback (most recent call last):
        ValueError: '1.5' has no unit; write '1.5 nm'
        """
        if isinstance(value, bool) or not isinstance(value, str):
            shown = _short(value)
            raise ValueError(f"{shown} has no unit; write a text such as '{shown} {self.unit}'")
        if len(value) > MOST_CHARACTERS:
            raise ValueError(f"{_short(value)} is too long: a quantity has at most {MOST_CHARACTERS} characters")
        text = value.strip()
        if re.fullmatch(_NUMBER, text):
            raise ValueError(f"{value!r} has no unit; write '{text} {self.unit}'")
        match = _QUANTITY.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{value!r} is not a number with a unit such as '1 {self.unit}' (no brackets, powers of one digit)"
            )
        number, unit_text = match.groups()
        unit_text = re.sub(r"^\s*/", "1/", unit_text)
        try:
            unit = _unit(unit_text)
        except pint.UndefinedUnitError as error:
            raise ValueError(f"unknown unit in {value!r}: {error}") from error
        except Exception as error:
            raise ValueError(f"{value!r} is not a number with a unit such as '1 {self.unit}'") from error
        return self._convert(value, float(number), unit)

    def _convert(self, text: str, number: float, unit: pint.Unit) -> float:
        quantity: pint.Quantity[float] = _registry().Quantity(number, unit)
        try:
            if quantity.unitless or not quantity.units:
                raise ValueError(f"{text!r} has no unit; write '{number:g} {self.unit}'")
            converted = float(quantity.to(self.unit).magnitude)
        except (pint.DimensionalityError, pint.OffsetUnitCalculusError) as error:
            raise ValueError(f"{text!r} cannot be converted to {self.unit}") from error
        except ArithmeticError:
            converted = math.inf
        if not math.isfinite(converted):
            raise ValueError(f"{text!r} is not a finite number of {self.unit}")
        return converted

    def format(self, value: float) -> str:
        """Text that :meth:`parse` reads back without loss."""
        return f"{value!r} {self.unit}"

    def _validate(self, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        number = self.parse(value)
        try:
            return check(number)
        except ValidationError as error:
            raise ValueError(f"{value!r}: {error.errors()[0]['msg']} {self.unit}") from error

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Parse before pydantic's own checks (bounds, finiteness), format when dumped as JSON."""
        return core_schema.no_info_wrap_validator_function(
            self._validate,
            handler(source),
            serialization=core_schema.plain_serializer_function_ser_schema(self.format, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Text in a schema, with the unit of its limits and default."""
        return handler(schema) | {"type": "string", "unit": self.unit}


def _short(value: Any) -> str:
    """Text of any value for a message; numbers of thousands of digits and deep lists have none."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"this {type(value).__name__}"
    return text if len(text) <= 50 else text[:50] + "…"


Length = Annotated[float, In("nm")]
Time = Annotated[float, In("ps")]
Rate = Annotated[float, In("1/ps")]
Temperature = Annotated[float, In("kelvin")]
Angle = Annotated[float, In("rad")]

# with limits: what lies outside is a mistake in a unit or a power of ten
Duration = Annotated[float, Field(ge=1e-6, le=1e9), In("ps")]
Kelvin = Annotated[float, Field(ge=1, le=5000), In("kelvin")]
Snr = Annotated[float, Field(ge=1e-9, le=1e12), In("1/nm**2")]
PlainSnr = Annotated[float, Field(ge=1e-9, le=1e12)]

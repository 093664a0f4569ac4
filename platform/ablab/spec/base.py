"""`Spec`: the frozen, closed base of every declared object, and its canonical form."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.config import JsonDict

from ablab.errors import InputError
from ablab.spec.canonical import canonical_json

INERT: JsonDict = {"inert": True}  # json_schema_extra: left out of the canonical form while it equals its default
EXECUTION: JsonDict = {"execution": True}  # json_schema_extra: never part of an identity (paths, URLs)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Spec(BaseModel):
    """Frozen and closed. Floats given as integers become floats; nothing else is coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    def canonical(self) -> dict[str, Any]:
        """JSON-like identity of this object: without execution fields and without inert defaults."""
        return {
            name: _canonical_value(getattr(self, name))
            for name, field in type(self).model_fields.items()
            if not _is_left_out(field, getattr(self, name))
        }


def _is_left_out(field: Any, value: Any) -> bool:
    extra = field.json_schema_extra or {}
    if extra.get("execution"):
        return True
    return (
        bool(extra.get("inert")) and not field.is_required() and value == field.get_default(call_default_factory=True)
    )


def _canonical_value(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.canonical()
    if isinstance(value, tuple | list):
        return [_canonical_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _canonical_value(item) for key, item in value.items()}
    return value


def check_name(value: str) -> str:
    """A name that may become a folder or part of a URL: letters, digits, '.', '_', '-'; never a path."""
    if not NAME.fullmatch(value) or ".." in value:
        raise ValueError(
            f"name {value!r} must be 1 to 100 letters, digits, '.', '_' or '-', "
            "starting with a letter or digit, without '..'"
        )
    return value


Name = Annotated[
    str,
    AfterValidator(check_name),
    WithJsonSchema({"type": "string", "pattern": rf"^(?!.*\.\.){NAME.pattern}$"}),
]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]


def faults_of(error: ValidationError, where: str = "") -> list[str]:
    """Every fault of a pydantic error as one line each: path, rule, value."""
    lines = []
    for item in error.errors(include_url=False):
        path = ".".join(str(part) for part in item["loc"]) or "value"
        prefix = f"{where}: " if where else ""
        if item["type"] == "extra_forbidden":
            lines.append(f"{prefix}{path}: unknown field; remove it or correct its name")
        elif item["type"] == "missing":
            lines.append(f"{prefix}{path}: required field is missing; state it")
        else:
            lines.append(f"{prefix}{path}={item['input']!r}: {item['msg']}")
    return lines


SpecT = TypeVar("SpecT", bound=Spec)


def build(kind: type[SpecT], data: Any, where: str = "") -> SpecT:
    """Validate JSON-like data as `kind`; an `InputError` names every fault."""
    try:
        return kind.model_validate_json(canonical_json(data))
    except ValidationError as error:
        raise InputError(faults_of(error, where)) from error

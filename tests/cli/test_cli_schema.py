"""`ablab schema`: every declaration of this repository fits it, and what a spec refuses it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cli_helper import Invoke
from tiny_helper import ROOT

from ablab.cli.schema import KINDS, schema_of
from ablab.registry.declarations import load_declarations
from ablab.spec import Placement
from ablab.spec.edit import dump

ABLATIONS = {name: one.ablation for name, one in load_declarations(ROOT).ablations.items()}
DESIGNS = [(name, scale) for name, ablation in ABLATIONS.items() for scale in ablation.designs]
KEYWORDS = {
    *("$schema", "$defs", "$ref", "title", "description", "default", "discriminator", "inert", "execution"),
    *(
        "type",
        "const",
        "enum",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "items",
    ),
    *("anyOf", "oneOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern"),
    *("minItems", "maxItems", "prefixItems", "minProperties"),
}
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def faults(value: Any, schema: Any, root: dict[str, Any], at: str = "") -> Iterator[str]:
    """Where a value does not fit a schema; knows the keywords that pydantic writes, and refuses any other."""
    if schema is True:
        return
    assert not schema.keys() - KEYWORDS, schema.keys() - KEYWORDS
    if "$ref" in schema:
        yield from faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, at)
    for some in ("anyOf", "oneOf"):
        fitting = [one for one in schema.get(some, ()) if not any(faults(value, one, root))]
        if some in schema and (not fitting or (some == "oneOf" and len(fitting) != 1)):
            yield f"{at}: fits {len(fitting)} of {some}"
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{at}: {value!r} is no {kind}"
        return
    yield from _value_faults(value, schema, at)
    if isinstance(value, dict):
        yield from _object_faults(value, schema, root, at)
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{at}: {len(value)} items"
        for number, item in enumerate(value):
            yield from faults(item, schema.get("items", True), root, f"{at}[{number}]")


def _value_faults(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    if "const" in schema and value != schema["const"]:
        yield f"{at}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at}: {value!r} does not match"
    if isinstance(value, int | float):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            yield f"{at}: {value} is out of range"
        if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
            yield f"{at}: {value} is too small"
        if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
            yield f"{at}: {value} is too large"


def _object_faults(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str) -> Iterator[str]:
    yield from (f"{at}.{name}: missing" for name in schema.get("required", ()) if name not in value)
    if len(value) < schema.get("minProperties", 0):
        yield f"{at}: {len(value)} properties"
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, inside in value.items():
        yield from faults(name, schema.get("propertyNames", True), root, f"{at}.{name}")
        matching = [one for pattern, one in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
        of = known.get(name, matching[0] if matching else others)
        if of is False:
            yield f"{at}.{name}: unknown"
        else:
            yield from faults(inside, of, root, f"{at}.{name}")


def all_faults(value: Any, kind: str) -> list[str]:
    schema = schema_of(kind)
    return list(faults(value, schema, schema))


@pytest.mark.parametrize(("name", "scale"), DESIGNS)
def test_every_recipe_of_every_arm_and_scale_fits(name: str, scale: str) -> None:
    for arm, recipe in ABLATIONS[name].design(scale).recipes().items():
        assert all_faults(dump(recipe), "recipe") == [], arm


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_fits(name: str) -> None:
    assert all_faults(dump(ABLATIONS[name]), "ablation") == []


def test_a_placement_fits() -> None:
    assert all_faults(dump(Placement()), "placement") == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schedule.steps", 0),
        ("schedule.steps", 10.5),
        ("schedule.steps", None),
        ("schedule.stepz", 10),
        ("mixture.share", 1.5),
        ("precision", "fp16"),
        ("tokenizer.vocab_size", 10),
        ("good.selection", {"kind": "at-step"}),
        ("good.selection", {"kind": "at-stepp", "step": 1}),
        ("corpus.sources", []),
        ("corpus.sources", [{"kind": "microworld", "world_seed": 1}]),
        ("sizes", {"../a": {"layers": 1, "hidden": 2, "heads": 1, "ffn": 2}}),
    ],
)
def test_what_a_spec_refuses_the_schema_refuses(path: str, value: Any) -> None:
    recipe = dump(ABLATIONS["contrastive-vs-masked"].design("smoke").recipe)
    *parents, leaf = path.split(".")
    node = recipe
    for part in parents:
        node = node[part]
    node[leaf] = value
    assert all_faults(recipe, "recipe")


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_and_its_docstring_are_in_the_schema(kind: str) -> None:
    schema = schema_of(kind)
    for name, one in {KINDS[kind].__name__: schema, **schema.get("$defs", {})}.items():
        if name == "JsonValue":  # any JSON: what DeepSpeed's own settings hold
            continue
        assert one.get("description"), name
        assert one["additionalProperties"] is False, name


def test_units_of_fields_are_told() -> None:
    fields = schema_of("recipe")["$defs"]["Synthetic"]["properties"]
    assert "Sampled tokens" in fields["tokens"]["description"]


@pytest.mark.parametrize(
    ("arguments", "title"), [([], "Ablation"), (["recipe"], "Recipe"), (["placement"], "Placement")]
)
def test_the_command_prints_json(arguments: list[str], title: str, ablab: Invoke) -> None:
    code, out, _ = ablab("schema", *arguments)
    assert code == 0
    assert json.loads(out)["title"] == title


def test_an_unknown_kind_is_refused(ablab: Invoke) -> None:
    code, _, err = ablab("schema", "recip")
    assert code == 2
    assert "did you mean 'recipe'" in err

"""WFE's ``when`` trees: what each comparison and combination says, also of what is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wfe.core.cel import CelType, compile_cel
from wfe.core.definition import Cel
from wfe.yaml import load_workflow

INPUTS: dict[str, tuple[str, Any]] = {
    "text": ("string", "main"),
    "number": ("number", 2.5),
    "count": ("integer", 3),
    "flag": ("bool", True),
    "names": ("list<string>", ["a", "b"]),
    "note": ("string?", None),
    "any": ("any", 3),
}
OUTPUTS: dict[str, tuple[str, Any]] = {"made": ("integer", 7), "word": ("any", "yes")}
LOST = {"lost": ("integer", None)}


def holds(tree: dict[str, Any]) -> bool:
    """Return what *tree* says where the output ``lost`` was never made."""
    declared = {name: kind for name, (kind, _) in INPUTS.items()}
    outputs = {name: kind for name, (kind, _) in {**OUTPUTS, **LOST}.items()}
    text = json.dumps({"declared": declared, "outputs": outputs, "tree": tree})
    parts = json.loads(text)
    definition = load_workflow(
        "workflow:\n  id: main\n  version: 1\n"
        f"  inputs: {json.dumps(parts['declared'])}\n  steps:\n"
        f"    - {{name: first, run: make, outputs: {json.dumps(parts['outputs'])}}}\n"
        f"    - {{name: x, run: make, when: {json.dumps(parts['tree'])}}}\n"
    )
    condition = next(node.run_if for node in definition.walk() if node.name == "x")
    assert isinstance(condition, Cel)
    roots = {
        "inputs": {name: value for name, (_, value) in INPUTS.items()},
        "data": {name: value for name, (_, value) in OUTPUTS.items()},
    }
    program = compile_cel(condition.text, dict.fromkeys(roots, CelType.DYN))
    return bool(program.evaluate(roots))


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("inputs.text", "equals", "main", True),
        (".inputs.text", "equals", "other", False),
        ("inputs.text", "not_equals", "other", True),
        ("inputs.text", "equals", 'ma"in', False),
        ("inputs.number", "equals", 2.5, True),
        ("inputs.number", "gt", 2, True),
        ("inputs.number", "lte", 2, False),
        ("inputs.count", "equals", 3, True),
        ("inputs.count", "gte", 3, True),
        ("inputs.count", "lt", 3, False),
        ("inputs.count", "gt", 2.9, True),
        ("inputs.flag", "equals", True, True),
        ("inputs.flag", "not_equals", True, False),
        ("inputs.names", "contains", "a", True),
        ("inputs.names", "contains", "c", False),
        ("inputs.names", "equals", ["a", "b"], True),
        ("inputs.text", "contains", "ai", True),
        ("inputs.text", "contains", "x", False),
        ("inputs.note", "is_null", True, True),
        ("inputs.note", "is_null", False, False),
        ("inputs.note", "is_not_null", True, False),
        ("inputs.note", "equals", "x", False),
        ("inputs.note", "contains", "x", False),
        ("inputs.any", "equals", 3, True),
        ("inputs.any", "gt", 2, True),
        ("inputs.any", "contains", "3", True),
        ("inputs.any", "equals", "3", False),
        ("outputs.made", "gt", 6, True),
        (".outputs.made", "equals", 7, True),
        ("outputs.word", "equals", "yes", True),
        ("outputs.word", "gt", 1, False),
        ("outputs.word", "contains", "es", True),
        ("outputs.lost", "equals", 1, False),
        ("outputs.lost", "not_equals", 1, False),
        ("outputs.lost", "lt", 1, False),
    ],
)
def test_comparisons(field: str, operator: str, value: object, expected: bool) -> None:
    assert holds({"field": field, operator: value}) is expected


YES = {"field": "inputs.count", "equals": 3}
NO = {"field": "inputs.count", "equals": 4}
GONE = {"field": "outputs.lost", "equals": 4}


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"all": [YES, YES]}, True),
        ({"all": [YES, NO]}, False),
        ({"any": [NO, YES]}, True),
        ({"any": [NO, NO]}, False),
        ({"none": [NO, NO]}, True),
        ({"none": [NO, YES]}, False),
        ({"one_of": [NO, YES]}, True),
        ({"one_of": [YES, YES]}, False),
        ({"one_of": [NO]}, False),
        ({"not": NO}, True),
        ({"not": YES}, False),
        ({"not": {"not": YES}}, True),
        ({"not": {"all": [YES, {"any": [NO, NO]}]}}, True),
        # What is missing is false, and so is its opposite.
        (GONE, False),
        ({"not": GONE}, False),
        ({"not": {"not": GONE}}, False),
        ({"not": {"all": [GONE]}}, False),
        ({"none": [GONE]}, False),
        ({"any": [GONE, YES]}, True),
        ({"all": [GONE, YES]}, False),
        ({"one_of": [GONE, YES]}, True),
    ],
)
def test_combinations(tree: dict[str, Any], expected: bool) -> None:
    assert holds(tree) is expected

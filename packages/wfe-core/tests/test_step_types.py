"""Step types described: roles, names and defaults of their fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import pytest

from wfe.core.errors import DefinitionError
from wfe.core.step_types import COMPUTED, NOTHING, Role, describe, setting, told


@attrs.define(kw_only=True)
class Tag:
    """Put a tag on it.

    Further words.
    """

    step_outputs: ClassVar[Mapping[str, str]] = {"digest": "string"}

    name: str
    size: int = 3
    mode: str = setting(Role.CONSTANT, default="a", choices=("a", "b"), description="How.")
    script: str = attrs.field(alias="run", metadata=told(Role.CODE, language="bash"))
    inputs: Mapping[str, Any] = setting(Role.INPUTS, factory=dict[str, Any])
    _own: int = 1
    results: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)

    def run(self, ctx: object) -> None:
        """Do it."""


def test_fields_are_described_with_roles_and_defaults() -> None:
    found = describe("tag", Tag)

    assert (found.name, found.cls, found.description) == ("tag", Tag, "Put a tag on it.")
    assert found.outputs == {"digest": "string"}
    rows = [(s.name, s.field, s.role, s.type, s.in_config, s.required) for s in found.settings]
    assert rows == [
        ("name", "name", Role.VALUE, str, True, True),
        ("size", "size", Role.VALUE, int, True, False),
        ("mode", "mode", Role.CONSTANT, str, True, False),
        ("run", "script", Role.CODE, str, True, True),
        ("inputs", "inputs", Role.INPUTS, Mapping[str, Any], False, False),
        ("own", "_own", Role.NONE, int, False, False),
    ]
    mode = found.of_role(Role.CONSTANT)
    assert mode is not None
    assert (mode.choices, mode.default, mode.description) == (("a", "b"), "a", "How.")
    code = found.of_role(Role.CODE)
    assert code is not None
    assert (code.language, code.default) == ("bash", NOTHING)
    assert found.of_role(Role.ENV) is None


def test_a_setting_is_an_ordinary_field_of_the_class() -> None:
    assert Tag(name="x", run="y").inputs == {}
    assert Tag(name="x", run="y").inputs is not Tag(name="x", run="y").inputs
    assert repr(COMPUTED) == "COMPUTED"


class Plain:
    def run(self, ctx: object) -> None: ...


@attrs.define
class Lazy:
    x: int = 1


@pytest.mark.parametrize("cls", [Plain, Lazy, 7, Tag.run])
def test_what_is_no_step_type_is_refused(cls: Any) -> None:
    with pytest.raises(
        DefinitionError, match=re.escape("not an attrs class with a method run(ctx)")
    ):
        describe("x", cls)

"""Step types of other distributions: found, checked against their classes, run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core import plugins
from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.core.step_types import COMPUTED, Role, describe, setting
from wfe.yaml import check, load_workflows, render, start_data
from wfe.yaml.schema import json_schema, step_types
from wfe.yaml.step_body import StepTypeError, step_bodies
from wfe.yaml.step_kinds import Unusable, find_type, installed_types

host = pytest.importorskip("wfe.host")

MODULE = '''
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
from attrs import validators as v

from wfe.core.step_types import COMPUTED, Role, setting
from wfe.core.steps import ExecutionResult


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@attrs.frozen(kw_only=True)
class Target:
    host: str
    port: int = 22


@attrs.define(kw_only=True)
class Ship:
    """Ship something.

    More of it.
    """

    step_outputs: ClassVar[Mapping[str, str]] = {"receipt": "string", "seconds": "number"}

    to: str
    size: Size = Size.SMALL
    how: Literal["air", "sea"] = "sea"
    wait: timedelta = timedelta(seconds=1)
    weight: float = attrs.field(default=1.0, validator=v.gt(0))
    count: int | None = None
    fast: bool = False
    crate: Path = Path("crate")
    tags: Sequence[str] = ()
    labels: Mapping[str, int] = attrs.field(factory=dict)
    target: Target | None = None
    anything: Any = None
    either: int | list[str] = 1
    mode: str = setting(Role.CONSTANT, default="a", choices=("a", "b"))
    query: str = setting(Role.CODE, default="-")
    inputs: Mapping[str, Any] = setting(Role.INPUTS, factory=dict)
    outputs: Mapping[str, Any] = setting(Role.OUTPUTS, factory=dict)
    workspace: Path | None = setting(Role.WORKSPACE, default=None)
    origin: Any = setting(Role.ORIGIN, default=None)
    _own: int = 3

    @classmethod
    def check_config(cls, config):
        if config.get("fast") is True and config.get("how") == "sea":
            yield "fast", "ships are slow", "write `how: air`"
        if config.get("to") is COMPUTED and config.get("how") == "air":
            yield "to", "planes need to know where they fly", None

    @classmethod
    def notices(cls, config):
        if config.get("crate") == Path("bag"):
            yield "crate", "bags get lost", "take a crate"

    @classmethod
    def implied_outputs(cls, config):
        return [word for word in str(config.get("query", "")).split() if word.startswith("o_")]

    async def run(self, ctx):
        ctx.log.info("shipping")
        given = {name: repr(value) for name, value in attrs.asdict(self, recurse=False).items()}
        return {"receipt": f"to {self.to}", "seconds": self.wait.total_seconds(), "given": given}


@attrs.define(kw_only=True)
class Blocking:
    """Count down in a thread."""

    start: int = 2
    results: dict = attrs.field(factory=dict, init=False)

    def run(self, ctx):
        left = self.start if ctx.persistence_data is None else ctx.persistence_data
        if left:
            return ExecutionResult.sleep(timedelta(milliseconds=1), left - 1)
        self.results = {"left": left}


@attrs.define(kw_only=True)
class Wrong:
    """Return what is no map of outputs."""

    result: Any

    def run(self, ctx):
        return self.result


@attrs.define(kw_only=True)
class Needy:
    """Need something."""

    @classmethod
    def missing(cls):
        return "needy steps need a friend", "find one"

    async def run(self, ctx):
        return None
'''

Plugin = Callable[[dict[str, str]], None]


def _forget() -> None:
    for name in ("_everything", "_group"):
        vars(plugins)[name].cache_clear()
    find_type.cache_clear()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """Install a distribution ``ships`` that offers step types: name to object."""
    site = tmp_path / "site"

    def install(points: dict[str, str], distribution: str = "ships") -> None:
        about = site / f"{distribution}-1.2.dist-info"
        about.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        (about / "METADATA").write_text(metadata + "Provides-Extra: fuel\n", encoding="utf-8")
        rows = "".join(f"{name} = {target}\n" for name, target in points.items())
        (about / "entry_points.txt").write_text(f"[wfe.steps]\n{rows}", encoding="utf-8")
        (site / "ships_of_test.py").write_text(MODULE, encoding="utf-8")
        _forget()

    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    yield install
    sys.modules.pop("ships_of_test", None)
    monkeypatch.undo()
    _forget()


SHIP = {"ship": "ships_of_test:Ship"}


def flow(tmp_path: Path, step: str, head: str = "") -> Path:
    path = tmp_path / "flow.yaml"
    text = f"workflow:\n  id: flow\n  version: 1\n{head}  steps:\n    - name: it\n{step}"
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path: Path, config: str, head: str = "  inputs: {n: integer, s: string}\n") -> str:
    use = "    - name: use\n      run: echo ${{ inputs.n }} ${{ inputs.s }}\n"
    path = flow(tmp_path, f"      type: ship\n      config: {config}\n{use}", head)
    found = check([path])
    return "\n".join(
        f"{d.line}:{d.column} {d.severity}[{d.code}] {d.message} | {d.hint or ''}" for d in found
    )


async def finish(path: Path, **inputs: object) -> Any:
    definitions = load_workflows(path)
    async with host.WorkflowHost("memory://") as running:
        for definition in definitions:
            running.register(definition)
        run = await running.start_workflow("flow", start_data(definitions[-1], inputs))
        return await run.wait(timeout=timedelta(seconds=20))


def test_names_are_listed_without_an_import(plugin: Plugin) -> None:
    plugin({**SHIP, "broken": "no_such_module:X"})

    assert {"ship", "broken", "shell", "workflow"} <= set(installed_types())
    assert "ships_of_test" not in sys.modules


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(
            "{}",
            "8:15 error[WFE013] a ship step needs `to` | write it under `config.to`",
            id="need",
        ),
        pytest.param(
            "{to: a, siez: large}",
            "8:23 error[WFE012] the `config` of a ship step has no key `siez` "
            "| did you mean `size`?",
            id="unknown-key",
        ),
        pytest.param(
            "{to: 7}", '8:20 error[WFE011] `to` is a text, not a number | quote it: "7"', id="text"
        ),
        pytest.param(
            "{to: a, size: larg}",
            "8:29 error[WFE015] `size` cannot be `larg` | did you mean `large`?",
            id="enum",
        ),
        pytest.param(
            "{to: a, how: by}",
            "8:28 error[WFE015] `how` cannot be `by` | write one of air, sea",
            id="literal",
        ),
        pytest.param(
            "{to: a, wait: 1.5h}",
            "8:29 error[WFE016] `wait` is a duration, not `1.5h` | did you mean `1h30m`?",
            id="duration",
        ),
        pytest.param(
            "{to: a, weight: 0}",
            "8:31 error[WFE015] `weight` must be > 0, not 0.0 | ",
            id="validator",
        ),
        pytest.param(
            '{to: a, count: "3"}',
            "8:30 error[WFE011] `count` is an integer, not a text | remove the quotes",
            id="integer",
        ),
        pytest.param(
            "{to: a, fast: yes}",
            "8:29 error[WFE011] `fast` is true or false, not a text "
            "| YAML 1.2 has `true` and `false` only",
            id="boolean",
        ),
        pytest.param(
            "{to: a, tags: [x, 2]}",
            '8:33 error[WFE011] item 2 of `tags` is a text, not a number | quote it: "2"',
            id="item",
        ),
        pytest.param(
            "{to: a, tags: x}",
            "8:29 error[WFE011] `tags` is a list, not a text | write `[x]`",
            id="list",
        ),
        pytest.param(
            "{to: a, labels: {x: y}}",
            "8:35 error[WFE011] `x` of `labels` is an integer, not a text | ",
            id="map",
        ),
        pytest.param(
            "{to: a, target: {port: 1, hots: b}}",
            "8:31 error[WFE013] `target` needs `host` | \n"
            "8:41 error[WFE012] `target` has no key `hots` | did you mean `host`?",
            id="record",
        ),
        pytest.param(
            "{to: a, either: x}",
            "8:31 error[WFE011] `either` is an integer or a list, not a text | write `[x]`",
            id="union",
        ),
        pytest.param(
            "{to: a, mode: '${{ inputs.s }}'}",
            "8:30 error[WFE036] `mode` cannot contain an expression, it is read before the run "
            "| use a load-time variable: `((name))`",
            id="constant",
        ),
        pytest.param(
            "{to: a, query: 'select ${{ inputs.s }}'}",
            "8:38 error[WFE036] `query` is code: a value that is put in would become part of it "
            "| give it to the step in another key, or in `inputs`",
            id="code",
        ),
        pytest.param(
            "{to: a, count: '${{ inputs.s }}'}",
            "8:30 error[WFE035] `count` is an integer, this gives a text | ",
            id="expression",
        ),
        pytest.param(
            "{to: '${{ inputs.n }}'}",
            "8:20 error[WFE035] `to` is a text, this gives an integer "
            "| write `string(...)` around it",
            id="expression-as-text",
        ),
        pytest.param(
            "{to: a, fast: true, how: sea}",
            "8:23 error[WFE060] ships are slow | write `how: air`",
            id="hook",
        ),
        pytest.param(
            "{to: '${{ inputs.s }}', how: air}",
            "8:16 error[WFE060] planes need to know where they fly | ",
            id="hook-computed",
        ),
        pytest.param(
            "{to: a, crate: bag}",
            "8:23 warning[WFE110] bags get lost | take a crate",
            id="notice",
        ),
        pytest.param(
            "{to: a, env: {A: b}}",
            "8:23 error[WFE012] the `config` of a ship step has no key `env` "
            "| known here: to, size, how, wait, weight, count, fast, crate, tags, labels, target, "
            "anything, either, mode, query, timeout",
            id="no-environment",
        ),
    ],
)
def test_a_wrong_config_is_said_where_it_stands(
    plugin: Plugin, tmp_path: Path, config: str, expected: str
) -> None:
    plugin(SHIP)

    assert problems(tmp_path, config) == expected


def test_constants_and_computed_values_arrive_as_the_class_wants_them(
    plugin: Plugin, tmp_path: Path
) -> None:
    plugin(SHIP)
    config = (
        "{to: '${{ inputs.s }}', size: large, how: sea, wait: 1m30s, weight: 2, "
        "count: '${{ inputs.n }}', fast: '${{ inputs.n > 1 }}', crate: a/b, tags: [x, y], "
        "labels: {x: 1, y: '${{ inputs.n }}'}, target: {host: '${{ inputs.s }}'}, "
        "anything: {deep: [1, '${{ inputs.n }}']}, either: [z], mode: b, query: 'select o_rows'}"
    )

    assert problems(tmp_path, config) == ""


async def test_the_object_gets_them(plugin: Plugin, tmp_path: Path) -> None:
    plugin(SHIP)
    step = (
        "      type: ship\n"
        "      inputs: {extra: [1, '${{ inputs.n }}']}\n"
        "      outputs: {given: map<string>}\n"
        "      config: {to: '${{ inputs.s }}', size: large, wait: 1m30s, weight: 2, crate: a/b,\n"
        "        count: '${{ inputs.n }}', tags: [x], target: {host: h},\n"
        "        labels: {y: '${{ inputs.n }}'}, query: select}\n"
    )
    head = (
        "  inputs: {n: integer, s: string}\n"
        "  outputs: {all: {type: any, value: '${{ steps.it.outputs.given }}'},\n"
        "    receipt: {type: string, value: '${{ steps.it.outputs.receipt }}'},\n"
        "    seconds: {type: number, value: '${{ steps.it.outputs.seconds }}'}}\n"
    )

    instance = await finish(flow(tmp_path, step, head), n=5, s="Rome")

    assert (instance.status, instance.error) == ("complete", None)
    outputs = instance.data["outputs"]
    assert (outputs["receipt"], outputs["seconds"]) == ("to Rome", 90.0)
    given = outputs["all"]
    assert given["size"] == "<Size.LARGE: 'large'>"
    assert given["wait"] == "datetime.timedelta(seconds=90)"
    assert given["weight"] == "2.0"
    assert given["count"] == "5"
    assert given["crate"] == "PosixPath('a/b')"
    assert given["target"] == "Target(host='h', port=22)"
    assert given["labels"] == "{'y': 5}"
    assert given["inputs"] == "{'n': 5, 's': 'Rome', 'extra': [1, 5]}"
    assert given["workspace"] == repr(tmp_path)
    assert given["_own"] == "3"
    assert "'line': 15, 'column': 48" in given["origin"]


async def test_a_computed_value_that_does_not_fit_fails_the_step(
    plugin: Plugin, tmp_path: Path
) -> None:
    plugin(SHIP)
    step = "      type: ship\n      config: {to: a, wait: '${{ inputs.any }}'}\n"

    instance = await finish(flow(tmp_path, step, "  inputs: {any: any}\n"), any="soon")

    assert instance.status == "failed"
    assert "`wait`: expected a duration such as 30s or 1h30m, got a text ('soon')" in str(
        instance.error
    )


async def test_a_blocking_step_that_sleeps_goes_on_where_it_was(
    plugin: Plugin, tmp_path: Path
) -> None:
    plugin({"count": "ships_of_test:Blocking"})
    step = "      type: count\n      outputs: {left: integer}\n"
    head = "  outputs: {left: integer}\n"

    instance = await finish(flow(tmp_path, step, head))

    assert (instance.status, instance.data["outputs"]) == ("complete", {"left": 0})


@pytest.mark.parametrize(
    ("result", "outputs", "message"),
    [
        ("7", "{}", "Wrong.run() returned int; a step returns a map of outputs"),
        ("{'a b': 1}", "{}", "an output cannot be called 'a b'"),
        ("{inputs: 1}", "{}", "an output cannot be called 'inputs'"),
        ("{a: x}", "{a: integer}", "output 'a': expected an integer, got a text ('x')"),
        ("{}", "{a: integer}", "the step declares the output 'a', and did not make it"),
    ],
)
async def test_outputs_are_checked(
    plugin: Plugin, tmp_path: Path, result: str, outputs: str, message: str
) -> None:
    plugin({"wrong": "ships_of_test:Wrong"})
    step = f"      type: wrong\n      outputs: {outputs}\n      config: {{result: {result}}}\n"

    instance = await finish(flow(tmp_path, step))

    assert instance.status == "failed"
    assert message in str(instance.error)


async def test_what_may_be_missing_is_null(plugin: Plugin, tmp_path: Path) -> None:
    plugin({"wrong": "ships_of_test:Wrong"})
    step = "      type: wrong\n      outputs: {a: integer?, b: any}\n      config: {result: {}}\n"

    instance = await finish(flow(tmp_path, step))

    assert instance.status == "complete"
    assert instance.data["steps.it"] == {"outputs": {"a": None, "b": None}, "status": "complete"}


def test_implied_outputs_may_be_read_and_a_types_own_keep_their_type(
    plugin: Plugin, tmp_path: Path
) -> None:
    plugin(SHIP)
    tail = (
        "    - name: next\n"
        "      run: echo ${{ steps.it.outputs.o_rows }} ${{ steps.it.outputs.receipt }}\n"
    )
    right = flow(tmp_path, "      type: ship\n      config: {to: a, query: 'x o_rows'}\n" + tail)
    assert check([right]) == []

    wrong = flow(
        tmp_path, "      type: ship\n      outputs: {receipt: integer}\n      config: {to: a}\n"
    )
    (found,) = check([wrong])
    assert (found.code, found.line) == ("WFE042", 7)
    assert found.message == "the output `receipt` of a ship step is string, not integer"


@pytest.mark.parametrize(
    ("points", "message", "hint"),
    [
        (
            {"ship": "no_such_module_at_all:X [fuel]"},
            "(ModuleNotFoundError: No module named 'no_such_module_at_all')",
            'pip install "ships[fuel]"',
        ),
        (
            {"ship": "ships_of_test:Nothing"},
            "(AttributeError: module 'ships_of_test' has no attribute 'Nothing')",
            "install another version of ships, or tell who makes it",
        ),
        (
            {"ship": "ships_of_test:Size"},
            "(DefinitionError: the step type 'ship' is <enum 'Size'>, not an attrs class with a ",
            "install another version of ships, or tell who makes it",
        ),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_a_diagnostic(
    plugin: Plugin, tmp_path: Path, points: dict[str, str], message: str, hint: str
) -> None:
    plugin(points)
    (found,) = check([flow(tmp_path, "      type: ship\n      config: {to: a}\n")])

    assert (found.code, found.line, found.column) == ("WFE061", 6, 13)
    assert found.message.startswith("the step type `ship` of ships 1.2 cannot be loaded " + message)
    assert found.hint == hint
    assert "ship" in installed_types()


def test_a_name_that_two_distributions_offer_is_refused(plugin: Any, tmp_path: Path) -> None:
    plugin(SHIP)
    plugin(SHIP, distribution="boats")
    (found,) = check([flow(tmp_path, "      type: ship\n      config: {to: a}\n")])

    assert (found.code, found.hint) == ("WFE061", "uninstall one of them")
    assert "boats and ships" in found.message or "ships and boats" in found.message


def test_what_a_type_needs_is_said_at_its_name(plugin: Plugin, tmp_path: Path) -> None:
    plugin({"needy": "ships_of_test:Needy"})
    (found,) = check([flow(tmp_path, "      type: needy\n")])

    assert (found.code, found.line, found.column) == ("WFE111", 6, 13)
    assert (found.message, found.hint) == ("needy steps need a friend", "find one")


async def test_a_stored_run_on_a_host_without_the_plugin_fails_with_the_cure(
    plugin: Plugin, tmp_path: Path
) -> None:
    plugin(SHIP)
    definitions = load_workflows(flow(tmp_path, "      type: ship\n      config: {to: a}\n"))
    (tmp_path / "site/ships-1.2.dist-info/entry_points.txt").write_text("", encoding="utf-8")
    _forget()
    stored = WorkflowDefinition.from_json(definitions[0].to_json())
    stored = attrs.evolve(stored, code=step_bodies(stored, tmp_path))
    async with host.WorkflowHost("memory://") as running:
        running.register(stored)
        run = await running.start_workflow("flow", {"inputs": {}})
        instance = await run.wait(timeout=timedelta(seconds=20))

    assert instance.status == "failed"
    assert "there is no step type `ship`; types are " in str(instance.error)
    assert StepTypeError.errored is True


def test_the_short_form_is_for_shell_steps(plugin: Plugin, tmp_path: Path) -> None:
    plugin(SHIP)
    (found,) = check([flow(tmp_path, "      type: ship\n      run: x\n      config: {to: a}\n")])

    assert (found.code, found.message) == ("WFE019", "a step with `type: ship` has no `run`")
    assert found.hint == "make it a step of its own"


def test_editors_and_the_list_of_types_know_it(plugin: Plugin) -> None:
    plugin({**SHIP, "needy": "ships_of_test:Needy", "broken": "no_such_module_at_all:X"})

    rows = {row.name: row for row in step_types()}
    ship = rows["ship"]
    assert (ship.source, ship.description, ship.problem) == ("ships 1.2", "Ship something.", None)
    assert ship.outputs == {"receipt": "string", "seconds": "number"}
    keys = {key.name: (key.type, key.required, key.default) for key in ship.keys}
    assert keys["to"] == ("a text", True, None)
    assert keys["mode"] == ("one of a, b", False, "a")
    assert keys["weight"] == ("a number", False, 1.0)
    assert "inputs" not in keys
    assert rows["needy"].problem == "needy steps need a friend; find one"
    assert "cannot be loaded" in (rows["broken"].problem or "")
    config = json_schema()["$defs"]["config_ship"]
    assert config["required"] == ["to"]
    assert config["additionalProperties"] is False
    assert config["properties"]["size"]["anyOf"][0] == {"enum": ["small", "large"]}
    assert set(config["properties"]["target"]["anyOf"][0]["properties"]) == {"host", "port"}


def test_describe_wants_an_attrs_class_with_run() -> None:
    class Plain:
        def run(self, ctx: object) -> None: ...

    with pytest.raises(DefinitionError, match="not an attrs class with a method run"):
        describe("plain", Plain)


def test_describe_reads_roles_and_defaults() -> None:
    found = find_type("shell")

    assert not isinstance(found, Unusable)
    code = found.of_role(Role.CODE)
    assert code is not None
    assert (code.name, code.language, code.language_key) == ("run", "bash", "shell")
    assert found.of_role(Role.INPUTS) is None
    assert repr(COMPUTED) == "COMPUTED"
    assert setting(Role.ENV, default=1).metadata["wfe.setting"]["role"] is Role.ENV


def test_all_shipped_types_can_be_used() -> None:
    found = {name: find_type(name) for name in installed_types() if name != "workflow"}

    assert {"shell", "http", "python", "git-repo"} <= set(found)
    assert [name for name, kind in found.items() if isinstance(kind, Unusable)] == []
    assert render([]) == ""


def test_outputs_of_a_type_that_is_not_there_are_no_further_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(
        "workflow:\n  id: a\n  version: 1\n"
        '  outputs: {found: {type: string, value: "${{ steps.ask.outputs.answer }}"}}\n'
        "  steps:\n    - {name: ask, type: oracle}\n"
        '    - {name: tell, run: "echo ${{ steps.ask.outputs.answer }} ${{ data.answer }}"}\n'
    )

    assert [found.code for found in check([path])] == ["WFE022"]

"""Files that follow the grammar, all of it: checked, drawn, formatted, and told to the schema."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any, cast

import pytest
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wfe.yaml.diagnostics import Severity
from wfe.yaml.formatting import format_text
from wfe.yaml.keys import DEFAULTS, KIND_KEYS, LEAF_KEYS, LEAF_MODIFIERS, MODIFIERS, WORKFLOW
from wfe.yaml.loader import check_text
from wfe.yaml.schema import json_schema

jsonschema = pytest.importorskip("jsonschema")

FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
Strategy = st.SearchStrategy[Any]

NAMES = st.sampled_from(["a", "b", "c", "build it", "d-e", "_x"])
DURATIONS = st.sampled_from(["5s", "1h30m", "500ms", "2d"])
CONDITIONS = st.sampled_from(
    ["${{ inputs.n > 1 }}", "inputs.s == 'x'", "failure()", "always()", "success() && inputs.n < 3"]
)
TEXTS = st.sampled_from(
    ["make", "echo ${{ inputs.s }}", "echo '((v|w))'", "${{ toJson(inputs) }}", "é\n# x"]
)
LISTS = st.sampled_from(["${{ [1, 2] }}", "${{ inputs.l }}"]) | st.lists(
    st.sampled_from(["x", "y"]), min_size=1, max_size=2, unique=True
)
TYPES = st.sampled_from(["string", "integer", "list<string>?", "enum(a|b)", "any", "secret"])
RETRY = st.fixed_dictionaries(
    {"max": st.integers(1, 3)},
    optional={
        "interval": DURATIONS,
        "backoff": st.sampled_from([1, 2, 1.5]),
        "max_interval": DURATIONS,
        "jitter": st.floats(0, 1),
        "on": st.lists(st.sampled_from(["exit:3", "timeout", "error"]), max_size=2),
        "total": DURATIONS,
        "then": st.sampled_from(["fail", "suspend", "terminate", "continue", "compensate"]),
    },
)
ENV = st.dictionaries(st.sampled_from(["A", "B_C"]), TEXTS, max_size=2)
ODD = st.sampled_from([None, "", 0, -1, True, [], {}, "x", ["x"], {"x": "y"}])


def sometimes_odd(values: Strategy) -> Strategy:
    """Mostly what belongs there, now and then anything else."""
    return st.integers(0, 300).flatmap(lambda n: ODD if n == 300 else values)


def modifiers(steps: Strategy) -> dict[str, Strategy]:
    known: dict[str, Strategy] = {
        "id": st.sampled_from(["a", "b", "i_d"]),
        "when": CONDITIONS,
        "timeout": DURATIONS,
        "retry": RETRY,
        "error_behavior": st.sampled_from([{"type": "retry", "max_retries": 2}, {"type": "x"}]),
        "continue_on_error": st.booleans(),
        "env": ENV,
        "env_from_host": st.just(["CI", "REGION"]),
        "working_dir": st.sampled_from(["sub", ".", "${{ inputs.s }}"]),
        "needs": st.lists(NAMES, max_size=2),
        "needs_any": st.lists(NAMES, min_size=1, max_size=2),
        "concurrency": st.sampled_from([2, {"limit": 2}, {"key": "${{ inputs.s }}"}]),
        "runs_on": st.just(["linux", "gpu"]),
        "extends": NAMES,
        **dict.fromkeys(("on_success", "on_failure", "on_error", "on_abort"), steps),
        **dict.fromkeys(("ensure", "compensate"), steps),
    }
    assert {"name", *known} == set(MODIFIERS)
    # What seldom fits is seldom taken, so that many files are right.
    rare = {"needs", "needs_any", "extends", "error_behavior", "compensate"}
    return {
        key: ODD | value if key in rare else sometimes_odd(value)
        for key, value in known.items()
        if key != "id"
    } | {"id": known["id"]}


def leaves(steps: Strategy) -> Strategy:
    own: dict[str, Strategy] = {
        "inputs": st.dictionaries(st.sampled_from(["p", "q"]), TEXTS, max_size=2),
        "outputs": st.dictionaries(st.sampled_from(["o", "r"]), TYPES, max_size=2),
        "cache": st.sampled_from([{"key": ["v1"]}, {"key": ["a"], "files": ["*.py"], "ttl": "1d"}]),
        "secrets": st.sampled_from([["npm-token"], {"TOKEN": "npm-token"}]),
        "artifacts": st.sampled_from([{"upload": {"out": "dist/*"}}, {"download": ["out"]}]),
        "commands": st.booleans(),
        "untrusted": st.booleans(),
    }
    assert {*own, "type", "config", "run"} == {*LEAF_KEYS, *LEAF_MODIFIERS}
    kinds = st.sampled_from(
        [
            {"run": "make ${{ inputs.s }}"},
            {"type": "shell", "config": {"run": "make", "shell": "python"}},
            {"type": "python", "config": {"script": "print(1)"}},
            {"type": "http", "config": {"url": "https://example.org/${{ inputs.s }}"}},
            {"type": "deno", "config": {"script": "setOutput('o', 1)"}},
            {"type": "workflow", "config": {"workflow": "big"}},
            {"type": "nothing"},
        ]
    )
    simple = st.fixed_dictionaries({"name": NAMES}, optional={"when": CONDITIONS, "env": ENV})
    rest = simple | st.fixed_dictionaries({"name": NAMES}, optional={**modifiers(steps), **own})
    return st.tuples(rest, kinds).map(lambda parts: {**parts[0], **parts[1]})


NEEDED: dict[str, tuple[str, ...]] = {
    **{kind: ("do",) if "do" in keys else () for kind, keys in KIND_KEYS.items()},
    "if": ("then",),
    "switch": ("cases",),
}


def controls(steps: Strategy) -> Strategy:
    values: dict[str, Strategy] = {
        **dict.fromkeys(("parallel", "do", "try", "then", "else", "default"), steps),
        "if": CONDITIONS,
        "switch": st.sampled_from(["${{ inputs.s }}", "inputs.e"]),
        "cases": st.dictionaries(st.sampled_from(["a", "b", "1"]), steps, min_size=1, max_size=2),
        "for_each": LISTS,
        "as": st.sampled_from(["x", "item", "1"]),
        "matrix": st.dictionaries(st.sampled_from(["os", "py"]), LISTS, min_size=1, max_size=2),
        "exclude": st.just([{"os": "x"}]),
        "include": st.just([{"os": "z", "py": "y"}]),
        "while": CONDITIONS,
        "max_iterations": st.integers(1, 5),
        "saga": steps | steps.map(lambda each: {"steps": each, "then": "continue"}),
        "wait_for": st.sampled_from([{"event": "e"}, {"event": "e", "key": "k", "output": "o"}]),
        "approval": st.sampled_from([{"prompt": "go?"}, {"prompt": "go?", "choices": ["y", "n"]}]),
        "delay": DURATIONS,
        "until": st.sampled_from(["2030-01-01T00:00:00Z", "${{ run.started }}"]),
        "limit": st.integers(1, 3),
        "fail_fast": st.booleans(),
        "sequential": st.booleans(),
        "join": st.sampled_from(["all", "any", 1]),
    }
    assert set(values) == {key for keys in KIND_KEYS.values() for key in keys}
    made = [
        st.fixed_dictionaries(
            {
                "name": NAMES,
                **{k: sometimes_odd(values[k]) for k in keys if k in {kind, *NEEDED[kind]}},
            },
            optional={
                **{k: sometimes_odd(values[k]) for k in keys if k not in {kind, *NEEDED[kind]}},
                **(modifiers(steps) if number % 2 else {}),
            },
        )
        for number in range(2)
        for kind, keys in KIND_KEYS.items()
    ]
    return st.one_of(made)


NO_STEPS: Strategy = st.just([{"name": "z", "run": "make"}])
STEPS = st.recursive(
    NO_STEPS,
    lambda steps: st.lists(leaves(NO_STEPS) | controls(steps), min_size=1, max_size=3),
    max_leaves=5,
)
INPUTS = {
    "n": {"type": "integer", "default": 3},
    "s": {"type": "string", "default": "x"},
    "l": {"type": "list<string>", "default": ["x"]},
    "e": {"type": "enum(a|b)", "default": "a"},
}
CONSTANTS: dict[str, Strategy] = {
    "retry": RETRY,
    "timeout": DURATIONS,
    "env": ENV,
    "shell": st.just("bash"),
    "working_dir": st.just("sub"),
    "env_from_host": st.just(["CI"]),
    "continue_on_error": st.booleans(),
    "secrets": st.just(["npm-token"]),
    "runs_on": st.just(["linux"]),
    "commands": st.booleans(),
    "untrusted": st.booleans(),
    "error_behavior": st.just({"type": "suspend"}),
}
WORKFLOWS_OWN: dict[str, Strategy] = {
    "name": NAMES,
    "description": st.just("Words."),
    "outputs": st.just({"made": {"type": "integer", "value": "${{ inputs.n + 1 }}"}}),
    "error_behavior": st.sampled_from([{"type": "suspend"}, {"type": "retry"}]),
    "timeout": DURATIONS,
    "env": ENV,
    "env_from_host": st.just(["CI"]),
    "working_dir": st.just("sub"),
    "defaults": st.fixed_dictionaries({}, optional=CONSTANTS),
    "concurrency": st.sampled_from([2, {"key": "k", "limit": 2}, {"key": "${{ inputs.s }}"}]),
    "services": st.just({"db": {"image": "postgres:16", "ports": [5432]}}),
    "shared_volume": st.sampled_from([{"size": "1Gi"}, {"mount_path": "/x"}]),
    "triggers": st.sampled_from(
        [[{"cron": "0 3 * * *"}], [{"webhook": {"source": "github"}}], [{"event": "e"}]]
    ),
    "retention": st.sampled_from(["7d", {"complete": "7d"}]),
    "runs_on": st.just(["linux"]),
    "extends": NAMES | ODD,
    "override": ODD,
}
USUAL = [key for key in WORKFLOWS_OWN if key not in {"extends", "override", "triggers"}]


def workflows(keys: Iterable[str]) -> Strategy:
    return st.fixed_dictionaries(
        {"id": st.just("big"), "version": st.just(1), "inputs": st.just(INPUTS), "steps": STEPS},
        optional={key: sometimes_odd(WORKFLOWS_OWN[key]) for key in keys},
    )


def named(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return the workflow with a name of its own for each step."""
    numbers = itertools.count()

    def walk(value: Any, *, steps: bool = False) -> Any:
        if isinstance(value, list):
            return [walk(each, steps=True) for each in cast("Iterable[Any]", value)]
        if not isinstance(value, dict):
            return value
        inner = {key: walk(each) for key, each in cast("dict[str, Any]", value).items()}
        return {**inner, "name": f"s{next(numbers)}"} if steps and "name" in value else inner

    return {**workflow, "steps": walk(workflow["steps"])}


WORKFLOWS = st.one_of(
    workflows(WORKFLOWS_OWN), workflows(USUAL).map(named), workflows([]).map(named)
)
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_every_key_of_a_workflow_is_generated() -> None:
    assert {"id", "version", "inputs", "steps", *WORKFLOWS_OWN} == set(WORKFLOW)
    assert set(CONSTANTS) == set(DEFAULTS)


@FUZZ
@given(WORKFLOWS)
def test_a_generated_workflow(workflow: dict[str, Any]) -> None:
    file = {"workflow": workflow, "_t": {"a": {"name": "t", "env": {"X": "y"}}}}
    text = json.dumps(file, ensure_ascii=False)

    TARGETS["check"].run(text.encode())
    found = check_text(text)

    if not any(each.severity is Severity.ERROR for each in found):
        wrong = [error.message for error in VALIDATOR.iter_errors(file)]
        assert wrong == []  # what may run is nothing that an editor marks


@FUZZ
@given(WORKFLOWS)
def test_a_generated_workflow_in_block_style_is_formatted(workflow: dict[str, Any]) -> None:
    text = "\n".join(block({"workflow": workflow}, 0)) + "\n"

    once = format_text(text)

    assert once.diagnostics == ()
    assert format_text(once.text).text == once.text
    codes = [each.code for each in check_text(text)]
    assert sorted(each.code for each in check_text(once.text)) == sorted(codes)


def block(value: Any, indent: int) -> list[str]:
    """Return plain data as lines of YAML in block style."""
    pad = "  " * indent
    lines: list[str] = []
    pairs: Iterable[tuple[str | None, Any]]
    if isinstance(value, dict):
        pairs = cast("dict[str | None, Any]", value).items()
    else:
        pairs = [(None, item) for item in value]
    for key, item in pairs:
        head = f"{pad}-" if key is None else f"{pad}{json.dumps(key)}:"
        if isinstance(item, dict | list) and item:
            lines += [head, *block(item, indent + 1)]
        else:
            lines.append(f"{head} {json.dumps(item, ensure_ascii=False)}")
    return lines

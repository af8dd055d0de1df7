"""Whatever stands in a file: diagnostics, never a traceback."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wfe.core.definition import WorkflowDefinition
from wfe.yaml.codes import MEANINGS
from wfe.yaml.diagnostics import Problems, Source, render, render_github, render_json
from wfe.yaml.keys import CONTROLS, FILE, KIND_KEYS, LEAF_KEYS, MODIFIERS, WORKFLOW
from wfe.yaml.tree import Limits
from wfe.yaml.variables import Variables
from wfe.yaml.workflows import check_source

FUZZ = settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SEEDS = [
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).parent / "corpus").glob("*/*.yaml"))
    if not path.stem.startswith("limit-")
]


def assert_no_traceback(text: str) -> None:
    problems = Problems()
    source = Source("fuzz.yaml", text)

    checked = check_source(source, Variables({"a": 1, "b": "x"}), problems, Limits())

    if not problems.failed:
        for definition in checked.definitions:
            again = WorkflowDefinition.from_json(definition.to_json())
            assert again.hash == definition.hash
    for show in (render, render_json, render_github):
        show(problems.in_order())
    for found in problems.found:
        assert found.code in MEANINGS
        assert 1 <= found.line <= len(source.lines)
        assert found.column >= 1


@FUZZ
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    assert_no_traceback(text)


@FUZZ
@given(st.text(alphabet="ab:-{}[]&*!|>'\"%@`#,?\n\t $().=0 ~<", max_size=120))
def test_text_of_what_yaml_gives_a_meaning(text: str) -> None:
    assert_no_traceback(text)


@FUZZ
@given(st.data())
def test_seeds_with_a_part_changed(data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS))
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, min(len(seed), start + 20)))
    part = data.draw(
        st.one_of(
            st.sampled_from(
                ["", "\n", ": ", "- ", "${{", "}}", "((a))", "*a", "&a ", "'", '"', "{"]
            ),
            st.text(max_size=8),
        )
    )

    assert_no_traceback(seed[:start] + part + seed[end:])


KEYS = st.sampled_from(
    sorted(
        {*FILE, *WORKFLOW, *MODIFIERS, *LEAF_KEYS, *CONTROLS}
        | {key for keys in KIND_KEYS.values() for key in keys}
    )
)
ATOMS = st.one_of(
    st.sampled_from(
        ["1", "true", "null", "'${{ inputs.a }}'", "'((a))'", "'((zz|1))'", "a", "5m", "list<int>"]
    ),
    st.sampled_from(
        ["'${{ steps.a.outputs.b > 1 }}'", "'echo \"${{ run.id }}\"'", "''", "-1", "[]"]
    ),
)


def flow(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    maps = st.dictionaries(KEYS, children, max_size=4).map(
        lambda fields: "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"
    )
    return st.one_of(maps, st.lists(children, max_size=3).map(lambda c: "[" + ", ".join(c) + "]"))


@FUZZ
@given(st.recursive(ATOMS, flow, max_leaves=12))
def test_known_keys_at_wrong_places(value: str) -> None:
    assert_no_traceback(f"workflow: {{id: a, version: 1, inputs: {{a: string}}, steps: [{value}]}}")
    assert_no_traceback(f"workflow: {value}")
    assert_no_traceback(f"{{workflows: [{value}], types: {value}}}")


NAMES = st.sampled_from(["a", "b", "c", "[a, b]", "_t.a", "zz", "1", "{}"])


def step_text(name: str, extends: str, rest: str) -> str:
    return f"{{name: {name}, extends: {extends}{rest}}}"


def steps_text(key: str, items: list[str]) -> str:
    return f"{{{key}: [{', '.join(items)}]}}"


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    keys = ["do", "parallel", "then", "ensure", "saga", "cases", "steps"]
    return st.builds(steps_text, st.sampled_from(keys), st.lists(inner, max_size=3))


STEP = st.builds(
    step_text,
    st.sampled_from(["x", "y", "z"]),
    NAMES,
    st.sampled_from(["", ", run: make", ", timeout: 1s", ", env: {A: b}", ", config: {run: x}"]),
)
TEMPLATE = st.recursive(
    st.one_of(STEP, ATOMS, st.just("{run: make, env: {A: a}}")), nested, max_leaves=6
)


@FUZZ
@given(TEMPLATE, TEMPLATE, TEMPLATE, STEP)
def test_templates_of_templates(a: str, b: str, c: str, step: str) -> None:
    assert_no_traceback(
        f"_t: {{a: {a}, b: {b}}}\n_u: {{c: {c}}}\n"
        f"workflow: {{id: a, version: 1, extends: c, steps: [{step}, {b}]}}\n"
    )


@FUZZ
@given(st.text(alphabet="abn.?()[]{}'\"+-*/%<>=!&|,: 01_", max_size=60))
def test_any_expression(text: str) -> None:
    quoted = text.replace("'", "''")
    assert_no_traceback(
        "workflow:\n  id: a\n  version: 1\n  inputs: {a: string, n: integer}\n  steps:\n"
        f"    - name: x\n      when: '{quoted}'\n      run: 'echo ${{{{ {quoted} }}}}'\n"
    )

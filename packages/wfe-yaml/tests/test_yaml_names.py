"""Names at their places: hooks, loops, matrices, triggers, secrets, and what is said elsewhere."""

from __future__ import annotations

import attrs
import pytest

from wfe.core.cel import CelType
from wfe.core.definition import Cel, Record, Text, Value
from wfe.yaml.diagnostics import Problems, Source
from wfe.yaml.expressions import Expressions
from wfe.yaml.flows import secrets_in, source_of, uses_status
from wfe.yaml.parsing import parse
from wfe.yaml.scope import Scope, Visible
from wfe.yaml.tree import Limits, MapNode, Node
from wfe.yaml.value_types import STRING, ValueType

SECRET = ValueType("secret")
PLAIN = Scope(
    inputs={"image": STRING, "token": SECRET, "my-token": SECRET},
    steps={
        "each": Visible(outputs={}, fixed="a loop", results=CelType.list_of(CelType.DYN)),
        "maybe": Visible(
            outputs={}, sure=False, doubt="it may not", results=CelType.list_of(CelType.DYN)
        ),
    },
    every={"each": 3, "maybe": 4},
    env={"HELD": Text((Value("Bearer "), Cel("secrets.npm"))), "FREE": Value("x")},
)
SECRETS = PLAIN.for_secrets()
HOOK = attrs.evolve(PLAIN, step=Visible(outputs={"digest": STRING}, sure=False))
AFTER_SUCCESS = attrs.evolve(PLAIN, step=Visible(outputs={"digest": STRING}))
MATRIX = attrs.evolve(
    PLAIN,
    local={"matrix": CelType.map_of(CelType.DYN), "index": CelType.INT},
    axes={"os": CelType.STRING, "py-version": CelType.STRING},
)
WHEN = attrs.evolve(PLAIN, status=True)
EVENT = attrs.evolve(PLAIN, local={"event": CelType.DYN})


def node(text: str) -> Node:
    root = parse(Source("f.yaml", text), Problems(), Limits())
    assert isinstance(root, MapNode)
    found = root.get("x")
    assert found is not None
    return found


def read(text: str, scope: Scope) -> tuple[str | None, str | None, list[tuple[str, str]]]:
    problems = Problems()
    found = Expressions(problems).value(node(f"x: >-\n  ${{{{ {text} }}}}"), scope)
    said = [(problem.code, problem.message) for problem in problems.found]
    if found is None:
        return None, None, said
    assert isinstance(found[0], Cel)
    return found[0].text, str(found[1]), said


@pytest.mark.parametrize(
    ("text", "scope", "stored", "kind"),
    [
        ("step.status", HOOK, "step.status", "string"),
        ("step.error.message", HOOK, "step.error.message", "dyn"),
        ("step.outputs.?digest.orValue('')", HOOK, "step.outputs.?digest.orValue('')", "dyn"),
        ("step.outputs.digest", AFTER_SUCCESS, "step.outputs.digest", "dyn"),
        ("matrix.os", MATRIX, "matrix.os", "string"),
        ("matrix['py-version']", MATRIX, "matrix['py-version']", "dyn"),
        ("matrix.os + string(index)", MATRIX, "matrix.os + string(index)", "string"),
        ("event.ref", EVENT, "event.ref", "dyn"),
        ("steps.each.results", PLAIN, "steps.each.results", "list<dyn>"),
        ("steps.each.results.size()", PLAIN, "steps.each.results.size()", "int"),
        ("steps.maybe.?results.orValue([])", PLAIN, "steps.?maybe.?results.orValue([])", "dyn"),
        ("run.started", PLAIN, "timestamp(run.started)", "timestamp"),
        ("run.started.getFullYear()", PLAIN, "timestamp(run.started).getFullYear()", "int"),
        ("secrets.npm", SECRETS, "secrets.npm", "string"),
        ("secrets['npm-token'] + 'x'", SECRETS, "secrets['npm-token'] + 'x'", "string"),
        ("inputs.token", SECRETS, "secrets[inputs.token]", "string"),
        ("inputs['my-token']", SECRETS, 'secrets[inputs["my-token"]]', "string"),
        ("env.HELD", SECRETS, '("Bearer " + text(secrets.npm))', "string"),
        ("env.FREE", PLAIN, '("x")', "string"),
        ("failure() && inputs.image == ''", WHEN, "failure() && inputs.image == ''", "bool"),
        ("math.greatest(1, 2)", PLAIN, "math.greatest(1, 2)", "int"),
    ],
)
def test_a_name_is_stored_with_its_type(text: str, scope: Scope, stored: str, kind: str) -> None:
    assert read(text, scope) == (stored, kind, [])


@pytest.mark.parametrize(
    ("text", "scope", "code", "message"),
    [
        ("step.status", PLAIN, "WFE032", "`step` exists only inside the hooks of a step"),
        ("matrix.os", PLAIN, "WFE032", "`matrix` exists only inside a `matrix` step"),
        ("event.ref", PLAIN, "WFE032", "`event` exists only inside the `inputs` of a trigger"),
        ("item", PLAIN, "WFE032", "`item` exists only inside `for_each`"),
        ("matrix.so", MATRIX, "WFE032", "there is no axis `so`"),
        ("step.outputs.digest", HOOK, "WFE033", "the step of this hook may have failed"),
        ("has(step.outputs.digest)", HOOK, "WFE033", "the step of this hook may have failed"),
        ("step.outputs.?digset", HOOK, "WFE034", "the step of this hook declares no output"),
        ("step.outcome", HOOK, "WFE032", "there is no property of a step `outcome`"),
        ("steps.each.outputs", PLAIN, "WFE032", "the loop `each` has no `outputs`"),
        ("steps.maybe.results", PLAIN, "WFE033", "the step `maybe` may not have run"),
        ("secrets.npm", PLAIN, "WFE090", "the secret `npm` would flow into a value that is stored"),
        ("inputs.token", PLAIN, "WFE090", "the secret that the input `token` names would flow"),
        ("env.HELD", PLAIN, "WFE090", "`env.HELD`, which holds `secrets.npm`, would flow"),
        ("secrets", SECRETS, "WFE032", "`secrets` cannot be read as a whole"),
        ("secrets[inputs.image]", SECRETS, "WFE032", "`secrets` cannot be read as a whole"),
        ("secrets.?npm.orValue('')", SECRETS, "WFE032", "a secret is never optional"),
        ("inputs.token.x", SECRETS, "WFE032", "the input `token` is a secret"),
        ("failure()", PLAIN, "WFE032", "`failure()` has no meaning here"),
        ("failure(1)", WHEN, "WFE032", "`failure` takes no arguments"),
        ("math.greater(1, 2)", PLAIN, "WFE032", "there is no function `greater`"),
        ("hashFiles('a')", PLAIN, "WFE032", "there is no function `hashFiles`"),
        ("now()", PLAIN, "WFE032", "there is no function `now`"),
    ],
)
def test_a_name_at_a_wrong_place_is_told_where_it_belongs(
    text: str, scope: Scope, code: str, message: str
) -> None:
    stored, _, said = read(text, scope)

    assert stored is None
    assert len(said) == 1
    assert said[0][0] == code
    assert message in said[0][1]


def test_a_place_is_named_when_a_secret_would_flow_into_it() -> None:
    _, _, said = read("secrets.npm", PLAIN.into("the key of a cache"))

    assert said == [("WFE090", "the secret `npm` would flow into the key of a cache")]


def test_a_text_with_a_hole_for_an_axis_that_only_some_runs_have() -> None:
    scope = attrs.evolve(MATRIX, axes={"os": CelType.STRING, "extra": None})

    assert read("matrix.?extra.orValue(1)", scope) == ("matrix.?extra.orValue(1)", "dyn", [])
    assert read("matrix.extra", scope)[2][0][0] == "WFE033"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("npm-token", Value("npm-token")),
        ('"${{ secrets.npm }}"', Value("npm")),
        ("\"${{ secrets['npm-token'] }}\"", Value("npm-token")),
        ('"${{ inputs.token }}"', Cel("inputs.token")),
        ("\"${{ inputs['my-token'] }}\"", Cel('inputs["my-token"]')),
    ],
)
def test_an_input_of_type_secret_takes_the_name_of_a_secret(value: str, name: object) -> None:
    problems = Problems()

    assert Expressions(problems).secret_name(node(f"x: {value}"), PLAIN) == name
    assert problems.found == []


@pytest.mark.parametrize(
    "value", ["[a]", '"${{ inputs.image }}"', '"a${{ secrets.npm }}"', "\"${{ secrets.a + '' }}\""]
)
def test_an_input_of_type_secret_takes_nothing_else(value: str) -> None:
    problems = Problems()

    assert Expressions(problems).secret_name(node(f"x: {value}"), PLAIN) is None
    assert len(problems.found) == 1


def test_the_secrets_of_values_are_found_once_each() -> None:
    record = Record(
        (
            ("a", Cel("secrets.npm + secrets['x-y']")),
            ("b", Text((Value("secrets.no"), Cel("secrets[inputs.token]")))),
            ("c", Cel("'secrets.no' + secrets.npm")),
        )
    )

    found = secrets_in(record, None, Value("secrets.no"))

    assert found == (Value("npm"), Value("x-y"), Cel("inputs.token"))
    assert [source_of(each) for each in found] == [
        "`secrets.npm`",
        "`secrets.x-y`",
        "the secret that `inputs.token` names",
    ]


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("failure()", True),
        ("inputs.x && always()", True),
        ("success()", False),
        ("'failure()' == inputs.x", False),
        ("x.failure() || always", False),
    ],
)
def test_a_condition_that_asks_about_failures_is_known(text: str, asks: bool) -> None:
    assert uses_status(Cel(text)) is asks

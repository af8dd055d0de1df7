"""Secrets in runs: given to attempts, masked in what is told, refused in what is stored."""

from __future__ import annotations

import base64
import logging
import pickle
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core import (
    ExecutionResult,
    Retry,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
)
from wfe.core.definition import Block, Cel, Kind, Node
from wfe.core.engine.secrets import guarded, masking_more
from wfe.core.errors import DefinitionError, WfeError
from wfe.core.masking import Masker
from wfe.core.providers import Item
from wfe.core.rules.inputs import (
    AsksPerson,
    AsksPlaces,
    Failed,
    Items,
    Offers,
    Received,
    StartsChild,
    Stopped,
    Waits,
)
from wfe.core.secrets import (
    MappingSecrets,
    MissingSecretError,
    SecretInDataError,
    SecretNameError,
    SecretsProvider,
    missing_secrets,
)
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

SECRET = "hunter2-is-long"
CODED = base64.b64encode(SECRET.encode()).decode()
Context = StepExecutionContext[Any]


def one_step(body: Any) -> WorkflowDefinition:
    return WorkflowBuilder().start_with(body).name("the step").secrets("token").build("wf")


def host(definition: WorkflowDefinition, **options: Any) -> WorkflowTest:
    options.setdefault("secrets", {"token": SECRET})
    return WorkflowTest(definition, **options)


async def failed(body: Any, **options: Any) -> Any:
    definition = one_step(body)
    async with host(definition, **options) as t:
        run = await t.start(definition)
        instance = await run.wait(timedelta(seconds=10))
        return instance.error


async def test_a_step_gets_what_it_declares_and_nothing_else() -> None:
    seen: list[dict[str, str]] = []

    async def with_secret(ctx: Context) -> None:
        seen.append(dict(ctx.secrets))

    def without(ctx: Context) -> None:
        seen.append(dict(ctx.secrets))

    definition = (
        WorkflowBuilder().start_with(with_secret).secrets("token").then(without).build("wf")
    )
    async with host(definition, secrets={"token": SECRET, "other": "x" * 9}) as t:
        await t.run(definition)

    assert seen == [{"token": SECRET}, {}]


async def test_logs_are_masked_also_in_later_steps() -> None:
    def first(ctx: Context) -> None:
        ctx.log.info("raw %s", SECRET)
        ctx.log.line("stdout", f"coded {CODED}")

    def later(ctx: Context) -> None:
        ctx.log.warning("still %s", SECRET)

    definition = WorkflowBuilder().start_with(first).secrets("token").then(later).build("wf")
    told: list[str] = []
    async with host(definition) as t:
        t.host.subscribe(
            lambda event: told.append(str(event.data)) if event.kind == "log" else None
        )
        run = await t.start(definition)
        await run.wait(timedelta(seconds=10))
        lines = [line.line for line in await t.host.logs(run.id)]

    assert lines == ["raw ***", "coded ***", "still ***"]
    assert len(told) == 3
    assert all("***" in each and SECRET not in each for each in told)


async def test_errors_are_masked() -> None:
    def fails(ctx: Context) -> None:
        raise ValueError(f"no login with {ctx.secrets['token']}")

    error = await failed(fails)

    assert (error.type, error.message) == ("ValueError", "no login with ***")


def in_memory(ctx: Context) -> ExecutionResult:
    if ctx.persistence_data is None:
        return ExecutionResult.persist({"k": [ctx.secrets["token"]]})
    return ExecutionResult.next()


async def starts(ctx: Context) -> None:
    await ctx.start_workflow("wf", {"x": ctx.secrets["token"]})


STORING: dict[str, tuple[Callable[[Context], Any], str]] = {
    "field": (lambda ctx: {"url": f"https://u:{ctx.secrets['token']}@h"}, "data.url"),
    "nested": (lambda _: {"a": {"b": [1, CODED]}}, "data.a.b[1]"),
    "key": (lambda _: {"a": {SECRET: 1}}, "a key of data.a"),
    "outcome": (lambda _: ExecutionResult.outcome(SECRET), "outcome"),
    "plain": (lambda _: SECRET, "outcome"),
    "memory": (in_memory, "persistence_data.k[0]"),
    "event": (lambda _: ExecutionResult.wait_for_event("e", SECRET), "the event's key"),
    "emit": (lambda ctx: ctx.emit("x", {"v": SECRET}), "payload of 'x'.v"),
    "start": (starts, "start data.x"),
    "bytes": (lambda _: {"raw": SECRET.encode()}, "data.raw"),
}


@pytest.mark.parametrize("kind", STORING)
async def test_a_secret_is_never_stored(kind: str) -> None:
    body, where = STORING[kind]

    async def call(ctx: Context) -> Any:
        found = body(ctx)
        return await found if hasattr(found, "__await__") else found

    error = await failed(call)

    assert error.type == "SecretInDataError"
    assert SECRET not in error.message
    assert error.message.startswith(where)
    assert "contains the secret 'token', and secrets are never stored" in error.message


async def test_the_store_has_no_trace_of_a_secret(tmp_path: Path) -> None:
    def body(ctx: Context) -> None:
        ctx.log.info("%s %s", SECRET, CODED)
        ctx.data["kept"] = SECRET
        raise RuntimeError(f"{SECRET} {CODED}")

    url = f"sqlite:///{tmp_path}/runs.db"
    async with WorkflowHost(url, secrets={"token": SECRET}) as runs:
        run = await runs.start_workflow(one_step(body))
        await run.wait(timedelta(seconds=10))
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert b"*** ***" in stored
    assert SECRET.encode() not in stored
    assert CODED.encode() not in stored


async def test_progress_is_masked() -> None:
    def body(ctx: Context) -> None:
        ctx.heartbeat({"note": f"with {SECRET}"})

    told: list[Any] = []
    definition = one_step(body)
    async with host(definition) as t:
        t.host.subscribe(
            lambda event: told.append(event.data) if event.kind == "progress" else None
        )
        await t.run(definition)

    assert told == [{"name": "heartbeat", "payload": {"note": "with ***"}}]


async def test_a_missing_secret_fails_for_good_and_says_where_was_looked() -> None:
    def body() -> None:
        raise AssertionError

    error = await failed(body, secrets=[{"other": "x"}, "env:"])

    assert error.type == "MissingSecretError"
    assert error.message == (
        "there is no secret 'token' (looked in the application's own secrets, the environment"
        " (WFE_SECRET_…)); set WFE_SECRET_TOKEN, or pass a secrets file that has it"
    )


async def test_each_attempt_asks_anew() -> None:
    given = iter(["first-value", "second-value"])

    @attrs.frozen
    class Rotating:
        async def get(self, name: str) -> str | None:
            return next(given)

    seen: list[str] = []

    def body(ctx: Context) -> None:
        seen.append(ctx.secrets["token"])
        ctx.log.info("%s", " ".join(seen))
        if len(seen) == 1:
            raise OSError("once more")

    definition = (
        WorkflowBuilder()
        .start_with(body)
        .secrets("token")
        .on_error(Retry(max_retries=2))
        .build("wf")
    )
    async with host(definition, secrets=Rotating()) as t:
        run = await t.start(definition)
        await t.clock.advance(timedelta(minutes=1))
        await run.wait(timedelta(seconds=10))
        lines = [line.line for line in await t.host.logs(run.id)]

    assert seen == ["first-value", "second-value"]
    assert lines == ["***", "*** ***"]


def test_runs_share_the_masker_of_the_same_secrets() -> None:
    first = masking_more(None, [("a", "abcdef")])
    both = masking_more(first, [("a", "abcdef"), ("b", "ghijkl")])

    assert first is not None
    assert both is not None
    assert masking_more(first, [("a", "abcdef")]) is first
    assert masking_more(None, [("a", "abcdef"), ("b", "ghijkl")]) is both
    assert both.mask("abcdef ghijkl") == "*** ***"
    assert masking_more(None, []) is None
    many = masking_more(both, [("n", f"value-{n:04d}") for n in range(2000)])
    assert many is not None
    assert many.mask("abcdef value-0900 value-1999") == "abcdef value-0900 ***"


AT: dict[str, Any] = {"pointer": 3, "attempt": 1}


@pytest.mark.parametrize(
    ("outcome", "where"),
    [
        (AsksPerson(**AT, prompt=f"use {SECRET}?", options=()), "the prompt"),
        (AsksPerson(**AT, prompt="", options=("a", SECRET)), "options[1]"),
        (Offers(**AT, name="n", parameters=f'{{"a":"{SECRET}"}}'), "parameters"),
        (Waits(**AT, name="n", key=SECRET, as_of=0), "the event's key"),
        (AsksPlaces(**AT, places=((f"k:{SECRET}", 1, None),)), "the key of a limit[0][0]"),
        (Items(3, 1, ["a", {"b": SECRET}]), "items[1].b"),
        (StartsChild(3, 1, Item(rows=("[]", f'["{SECRET}"]'))), "the child's start data"),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, str) else "",
)
def test_every_outcome_is_searched(outcome: Any, where: str) -> None:
    masks = Masker([("token", SECRET)])
    other = Masker([("token", "something-else")])

    refused = guarded(outcome, masks)

    assert isinstance(refused, Failed)
    assert (refused.pointer, refused.attempt, refused.retryable) == (3, 1, False)
    assert refused.message.startswith(f"{where} contains the secret 'token'")
    assert guarded(outcome, other) is outcome


def test_a_guests_own_errors_are_passed_on_and_nobody_elses_inputs_are_touched() -> None:
    masks = Masker([("token", SECRET)])
    received = Received(i=1, kind="signal", payload={"data": SECRET})

    assert guarded(received, masks) is received
    assert guarded(Stopped(3), masks) == Stopped(3)


async def test_what_a_provider_raises_or_gives_is_not_shown() -> None:
    @attrs.frozen
    class Broken:
        async def get(self, name: str) -> str | None:
            raise RuntimeError(f"cannot decrypt {SECRET}")

    @attrs.frozen
    class Wrong:
        async def get(self, name: str) -> Any:
            return SECRET.encode()

    raised = await failed(lambda: None, secrets=Broken())
    gave = await failed(lambda: None, secrets=Wrong())

    assert (raised.type, raised.message) == (
        "ProviderError",
        "secrets: Broken failed on 'token' with RuntimeError",
    )
    assert gave.message == "secrets: Wrong gave bytes for 'token', not a text"


async def test_a_short_secret_is_not_masked_and_a_warning_says_so() -> None:
    def body(ctx: Context) -> dict[str, str]:
        ctx.log.info("pin %s", ctx.secrets["token"])
        return {"pin": ctx.secrets["token"]}

    definition = one_step(body)
    async with host(definition, secrets={"token": "123"}) as t:
        run = await t.start(definition)
        instance = await run.wait(timedelta(seconds=10))
        lines = [line.line for line in await t.host.logs(run.id)]

    assert instance.data["pin"] == "123"
    assert lines == ["the secret 'token' has fewer than 4 characters: it is not masked", "pin 123"]


async def test_a_logged_traceback_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    class Body:
        async def run(self, ctx: Context) -> None:
            raise ValueError(SECRET)

        def on_failure(self, ctx: Context, error: Exception) -> None:
            raise KeyError(SECRET)

    with caplog.at_level(logging.ERROR, "wfe.engine"):
        await failed(Body)

    assert "on_failure of step the step failed" in caplog.text
    assert "KeyError: '***'" in caplog.text
    assert SECRET not in caplog.text


def test_the_definition_keeps_names_only_and_others_keep_their_hash() -> None:
    definition = one_step(lambda: None)

    stored = definition.to_json()["root"]["nodes"][0]
    assert stored["secrets"] == [{"v": "token"}]
    again = WorkflowDefinition.from_json(definition.to_json(), code=definition.code)
    assert again == definition
    plain = WorkflowBuilder().start_with(lambda: None).build("wf")
    assert "secrets" not in plain.body


@pytest.mark.parametrize("name", ["", "-x", ".x", "a b", "a/b", "x" * 129])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(DefinitionError, match="cannot be the name of a secret"):
        WorkflowBuilder().start_with(lambda: None).secrets(name)


async def test_what_is_missing_is_known_before_a_run() -> None:
    two = WorkflowBuilder().start_with(lambda: None).name("one").secrets("x", "npm-token")
    definition = two.then(lambda: None).name("two").secrets("npm-token").build("a")

    found = await missing_secrets([definition], MappingSecrets({"x": ""}))

    assert [(each.name, each.steps, each.variable) for each in found] == [
        ("npm-token", ("a: one", "a: two"), "WFE_SECRET_NPM_TOKEN")
    ]


async def test_names_that_inputs_hold_are_known_before_a_run() -> None:
    exprs = (Cel("inputs.one"), Cel("inputs['the two']"), Cel("inputs.none"), Cel("steps.x.y"))
    node = Node(name="s", kind=Kind.STEP, secrets=exprs)
    definition = WorkflowDefinition(id="w", root=Block((node,)))
    inputs = {"one": "a", "the two": "b", "none": None}

    found = await missing_secrets([definition], MappingSecrets({"b": "x"}), inputs)

    assert [each.name for each in found] == ["a"]
    assert await missing_secrets([definition], MappingSecrets({})) == []


async def test_a_provider_is_closed_with_its_host(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    class Provider:
        def __init__(self, name: str) -> None:
            self.name = name

        async def get(self, name: str) -> str | None:
            return None

        async def aclose(self) -> None:
            closed.append(self.name)
            if self.name == "bad":
                raise RuntimeError(SECRET)

    several: list[SecretsProvider | str | Mapping[str, str]] = [{"a": "b"}, Provider("two")]
    for given in (Provider("one"), several, Provider("bad")):
        async with WorkflowHost("memory://", secrets=given):
            pass

    assert closed == ["one", "two", "bad"]
    assert "Provider could not be closed" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        MissingSecretError("x", "nowhere"),
        SecretInDataError("data.x", "token"),
        SecretNameError("-x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickle_and_are_final(error: WfeError) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert str(again) == str(error)
    assert not error.retryable
    assert getattr(error, "errored", False) is isinstance(error, MissingSecretError)

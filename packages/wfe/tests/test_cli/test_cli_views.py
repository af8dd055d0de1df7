"""What each view makes of the same events, and what the summary says."""

from __future__ import annotations

import enum
import io
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import attrs
import pytest
from cli_events import START, event
from rich.console import Console

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.models import ErrorInfo, LifecycleEvent, WorkflowInstance, WorkflowStatus, to_micros
from wfe.core.rules.plan import WHOLE
from wfe.host.cli import views
from wfe.host.cli.driving import Feed
from wfe.host.cli.model import Picture
from wfe.host.cli.output import Output
from wfe.host.cli.places import Places
from wfe.host.cli.result import Result, plain, short
from wfe.host.cli.stored import Stuck
from wfe.host.cli.view_github import GithubView
from wfe.host.cli.view_json import JsonView
from wfe.host.cli.view_live import LiveView
from wfe.host.cli.view_plain import PlainView

ERROR = {"type": "ValueError", "message": "no", "step": "b"}

DEFINITION = WorkflowDefinition(
    id="main",
    version=2,
    root=Block(
        (
            Node(name="a", kind=Kind.STEP),
            Node(name="b", kind=Kind.STEP),
            Node(name="kid", kind=Kind.SUB_WORKFLOW, config={"definition": "child"}),
            Node(
                name="each", kind=Kind.FOR_EACH, blocks=(Block((Node(name="c", kind=Kind.STEP),)),)
            ),
            Node(name="value", kind=Kind.SET),
        )
    ),
)
CHILD = WorkflowDefinition(id="child", root=Block((Node(name="x", kind=Kind.STEP),)))


def picture() -> Picture:
    return Picture("r1", {"main": DEFINITION, "child": CHILD}, "main")


def plain_lines(*events: LifecycleEvent) -> list[str]:
    stream = io.StringIO()
    feed = Feed(PlainView(stream))
    feed.show(picture())
    for each in events:
        feed.take(each)
    return stream.getvalue().splitlines()[1:]


WAKE = to_micros(START + timedelta(seconds=5))


@pytest.mark.parametrize(
    ("happened", "line"),
    [
        (event("step_started", "a", 1), "▶ a"),
        (event("step_started", "a", 1, attempt=2), "▶ a (attempt 3)"),
        (event("log", "a", 1, stream="stdout", line="hi"), "a | hi"),
        (event("step_failed", "b", 1, error=ERROR), "✖ b: ValueError: no"),
        (event("step_skipped", "a", 1), "⊘ a skipped"),
        (event("step_cancelled", "a", 1), "◌ a cancelled"),
        (event("step_interrupted", "a", 1), "↯ a interrupted"),
        (event("step_waiting", "a", 1, event="go", key="7"), "⏸ a waits for event go (key 7)"),
        (event("step_started", "c", 1), "▶ c #1"),
        (event("workflow_suspended", reason="lunch"), "⏸ suspended: lunch"),
        (event("workflow_resumed"), "⏸ resumed"),
        (
            event("data_conflict", "a", 1, fields=["total", "steps.a"]),
            "! a overwrote what another step wrote meanwhile: total",
        ),
        (
            event("step_failed", "each", 1, error={**ERROR, "step": "each"}),
            "✖ each: ValueError: no",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, LifecycleEvent) else value,
)
def test_plain_lines(happened: LifecycleEvent, line: str) -> None:
    assert plain_lines(happened) == [line]


@pytest.mark.parametrize(
    "happened",
    [
        event("workflow_started"),
        event("workflow_completed"),
        event("step_started", "each", 1),
        event("step_branched", "each", 1),
        event("step_failed", "each", 1, error=ERROR),
        event("step_completed", "value", 1),
        event("step_waiting", "kid", 1, child="r2"),
        event("data_conflict", "a", 1, fields=["steps.a"]),
    ],
    ids=lambda each: f"{each.kind}-{each.step}",
)
def test_plain_says_nothing_of(happened: LifecycleEvent) -> None:
    assert plain_lines(happened) == []


def test_plain_tells_how_long_a_step_took() -> None:
    lines = plain_lines(event("step_started", "a", 1), event("step_completed", "a", 1, 1.25))

    assert lines[-1] == "✔ a 1.2s"


def test_plain_tells_when_a_step_goes_on() -> None:
    wake = f"{(START + timedelta(seconds=5)).astimezone():%H:%M:%S}"

    assert plain_lines(
        event("step_sleeping", "a", 1, wake=WAKE),
        event("step_retrying", "b", 2, wake=WAKE, error=ERROR),
    ) == [f"◷ a sleeps until {wake}", f"↻ b: attempt 2 at {wake} after ValueError: no"]


LATER = START + timedelta(seconds=3 + 2 * 3600)
WAITED = ["▶ a", "⏸ a waits for a free place: db", "▶ a"]


@pytest.mark.parametrize("view", [PlainView, GithubView])
@pytest.mark.parametrize(("seconds", "lines"), [(0.1, WAITED[:1]), (0.4, WAITED)])
def test_a_place_is_waited_for_when_it_is_not_free_at_once(
    view: Any, seconds: float, lines: list[str]
) -> None:
    stream, now = io.StringIO(), [0.0]
    feed = Feed(view(stream, places=Places(lambda: now[0])))
    feed.show(picture())

    feed.take(event("step_started", "a", 1))
    feed.take(event("step_waiting", "a", 1, limits=["db"]))
    now[0] = seconds
    feed.view.tick()
    feed.view.tick()
    feed.take(event("places_granted", "a", 1, limit="db"))
    feed.view.tick()
    feed.take(event("step_started", "a", 1))
    feed.view.close()

    assert stream.getvalue().splitlines()[1:] == lines


@pytest.mark.parametrize("view", [PlainView, GithubView])
def test_who_has_no_place_yet_is_told_of_when_the_run_is_left(view: Any) -> None:
    stream = io.StringIO()
    feed = Feed(view(stream))
    feed.show(picture())

    feed.take(event("step_started", "a", 1))
    feed.take(event("step_waiting", "a", 1, limits=["db"]))
    feed.view.close()

    assert stream.getvalue().splitlines()[1:] == WAITED[:2]


def test_a_run_that_got_its_own_place_waits_for_none() -> None:
    stream, now = io.StringIO(), [0.0]
    feed = Feed(PlainView(stream, places=Places(lambda: now[0])))
    feed.show(picture())

    feed.take(event("step_waiting", WHOLE, 1, limits=["db"]))
    feed.take(event("places_granted", WHOLE, 1, limit="db"))
    now[0] = 1.0
    feed.view.tick()

    assert stream.getvalue().splitlines()[1:] == []


def test_plain_names_steps_of_sub_workflows_by_their_path() -> None:
    lines = plain_lines(
        event("step_waiting", "kid", 1, child="r2"), event("step_started", "x", 1, run="r2")
    )

    assert lines == ["▶ kid > x"]


def test_events_before_the_picture_are_kept() -> None:
    stream = io.StringIO()
    feed = Feed(PlainView(stream))

    feed.take(event("step_started", "a", 1))
    feed.show(picture())

    assert stream.getvalue().splitlines() == ["main v2, run r1", "▶ a"]


def test_json_events() -> None:
    stream = io.StringIO()
    feed = Feed(JsonView(stream))
    feed.show(picture())

    feed.take(event("step_started", "a", 1))
    feed.take(event("log", "a", 1, stream="stdout", line="hi", run_="x"))

    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {
            "event": "step_started",
            "run": "r1",
            "step": "a",
            "time": "2026-01-01T12:00:00+00:00",
            "pointer": 1,
            "attempt": 0,
        },
        {
            "event": "log",
            "run": "r1",
            "step": "a",
            "time": "2026-01-01T12:00:00+00:00",
            "pointer": 1,
            "attempt": 0,
            "stream": "stdout",
            "line": "hi",
            "run_": "x",
        },
    ]


# -- how it ended


def result(status: WorkflowStatus, **more: Any) -> Result:
    final = status.final
    instance = WorkflowInstance(
        id="r1",
        name="main-1",
        definition="main",
        version=2,
        status=status,
        data=more.pop("data", {}),
        reference=None,
        error=more.pop("error", None),
        pointers=(),
        created_at=START,
        completed_at=START + timedelta(seconds=2) if final else None,
        parent_id=None,
        root_id="r1",
    )
    return Result(
        instance=instance,
        picture=more.pop("picture", None) or picture(),
        now=START + timedelta(seconds=3),
        definition=DEFINITION,
        source="my file.yaml",
        **more,
    )


FAILED = ErrorInfo("ValueError", "no", "b")


def failed_picture() -> Picture:
    view = picture()
    view.apply(event("log", "b", 1, stream="stdout", line="last words"))
    view.apply(event("step_failed", "b", 1, error=ERROR))
    view.apply(event("workflow_failed", error=ERROR))
    return view


@pytest.mark.parametrize(
    ("ended", "code", "status", "lines"),
    [
        pytest.param(
            result(WorkflowStatus.COMPLETE, data={"n": 1, "text": "x\ny"}),
            0,
            "complete",
            ["✔ main (run r1) complete in 2.0s", "  n     1", "  text  x …"],
            id="complete",
        ),
        pytest.param(
            result(
                WorkflowStatus.FAILED,
                error=FAILED,
                picture=failed_picture(),
                again="wfe run 'my file.yaml'",
            ),
            1,
            "failed",
            [
                "✖ main (run r1) failed in 2.0s: b: ValueError: no",
                "  last lines of b:",
                "  │ last words",
                "  all its lines:  wfe logs r1 --step b",
                "  run it again:   wfe run 'my file.yaml'",
                "  or what failed: wfe run 'my file.yaml' --resume r1 --rerun-failed",
            ],
            id="failed",
        ),
        pytest.param(
            result(WorkflowStatus.TERMINATED, error=ErrorInfo("WorkflowTerminatedError", "enough")),
            4,
            "terminated",
            ["■ main (run r1) terminated after 2.0s: enough"],
            id="terminated",
        ),
        pytest.param(
            result(WorkflowStatus.RUNNABLE, interrupted=True, db=" --db sqlite:///x.db"),
            130,
            "interrupted",
            [
                "↯ main (run r1) interrupted after 3.0s",
                "resume with: wfe run 'my file.yaml' --resume r1 --db sqlite:///x.db",
            ],
            id="interrupted",
        ),
        pytest.param(
            result(WorkflowStatus.RUNNABLE, interrupted=True, kept=False),
            130,
            "interrupted",
            [
                "↯ main (run r1) interrupted after 3.0s",
                "  it was in memory only: nothing of it is kept",
            ],
            id="interrupted-in-memory",
        ),
        pytest.param(
            result(
                WorkflowStatus.RUNNABLE,
                stuck=Stuck(suspended=None, events=(("go", "a b"), ("stop", ""))),
            ),
            3,
            "waiting",
            [
                "⏸ main (run r1) waits for events go (key a b), stop",
                "  publish it:       wfe publish go 'a b'",
                "  publish it:       wfe publish stop",
                "  then go on with:  wfe run 'my file.yaml' --resume r1",
            ],
            id="waiting",
        ),
        pytest.param(
            result(
                WorkflowStatus.RUNNABLE,
                stuck=Stuck(
                    suspended=None,
                    events=(),
                    asks=(("an answer to 'Go?'", "wfe approve r1 yes|no --step go"),),
                    until=LATER,
                ),
            ),
            3,
            "waiting",
            [
                "⏸ main (run r1) waits for an answer to 'Go?'",
                "  answer it:        wfe approve r1 yes|no --step go",
                f"  times out:        {LATER.astimezone():%H:%M:%S} (in 2h 00m)",
                "  then go on with:  wfe run 'my file.yaml' --resume r1",
            ],
            id="waiting-with-a-time-out",
        ),
        pytest.param(
            result(WorkflowStatus.SUSPENDED, error=FAILED, stuck=Stuck(suspended="r1", events=())),
            3,
            "suspended",
            [
                "⏸ main (run r1) is suspended: b: ValueError: no",
                "  lift the suspension:  wfe resume r1",
                "  then go on with:      wfe run 'my file.yaml' --resume r1",
            ],
            id="suspended",
        ),
    ],
)
def test_results(ended: Result, code: int, status: str, lines: list[str]) -> None:
    assert (ended.code, ended.status, ended.summary()) == (code, status, lines)


def test_the_last_json_line_has_status_and_outputs() -> None:
    stream = io.StringIO()

    JsonView(stream).finish(result(WorkflowStatus.COMPLETE, data={"n": 1}))

    assert json.loads(stream.getvalue()) == {
        "event": "result",
        "run": "r1",
        "step": None,
        "time": "2026-01-01T12:00:03+00:00",
        "status": "complete",
        "outputs": {"n": 1},
        "error": None,
    }


def test_outputs_of_a_file_are_the_declared_ones() -> None:
    ended = result(WorkflowStatus.COMPLETE, data={"inputs": {}, "outputs": {"n": 1}, "x": 2})
    declared = attrs.evolve(DEFINITION, meta={"inputs": {}})

    assert attrs.evolve(ended, definition=declared).outputs() == {"n": 1}
    assert ended.outputs() == {"inputs": {}, "outputs": {"n": 1}, "x": 2}


def test_a_failed_run_has_no_outputs() -> None:
    assert result(WorkflowStatus.FAILED, data={"n": 1}).outputs() == {}


@attrs.frozen
class Money:
    amount: int


@dataclass
class Cart:
    owner: str


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Money(3), {"amount": 3}),
        (Cart("me"), {"owner": "me"}),
        (Colour.RED, "red"),
        (WorkflowStatus.FAILED, "failed"),
        ((1, {2}), [1, [2]]),
        ({1: START}, {"1": "2026-01-01T12:00:00+00:00"}),
        (b"x", "b'x'"),
    ],
)
def test_plain_values(value: object, shown: object) -> None:
    assert plain(value) == shown


def test_short_values_are_cut() -> None:
    assert short("x" * 500) == "x" * 200 + " …"
    assert short({"a": [1]}) == '{"a": [1]}'


# -- terminals and pipes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "term", "options", "kind"),
    [
        (Terminal(), "xterm", {}, LiveView),
        (Terminal(), "dumb", {}, PlainView),
        (Terminal(), "xterm", {"plain": True}, PlainView),
        (Terminal(), "xterm", {"json": True}, JsonView),
        (io.StringIO(), "xterm", {}, PlainView),
    ],
)
def test_the_view_fits_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
    stream: io.StringIO,
    term: str,
    options: dict[str, bool],
    kind: type,
) -> None:
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", term)

    assert isinstance(views.chosen(**{"plain": False, "json": False, **options}), kind)


def test_live_view_leaves_tree_and_summary() -> None:
    stream = io.StringIO()
    view = LiveView(Console(file=stream, width=80, force_terminal=False))
    feed = Feed(view)
    feed.show(picture())
    for each in (
        event("step_started", "a", 1),
        event("log", "a", 1, stream="stdout", line="\x1b[31mred\x1b[0m\x07"),
        event("step_completed", "a", 1, 1),
    ):
        feed.take(each)
        view.tick()

    view.finish(result(WorkflowStatus.COMPLETE, picture=feed.picture))

    text = stream.getvalue()
    assert "├─ ✔ a  1.0s\n" in text
    assert text.endswith("✔ main (run r1) complete in 2.0s\n")


def test_live_view_shows_output_without_control_characters() -> None:
    stream = io.StringIO()
    view = LiveView(Console(file=stream, width=80, height=30, force_terminal=True))
    feed = Feed(view)
    feed.show(picture())
    feed.take(event("step_started", "a", 1))
    feed.take(event("log", "a", 1, stream="stdout", line="\x1b[2J\x1b]0;title\x07plain\x08"))

    view.tick()
    view.close()

    text = stream.getvalue()
    assert "plain" in text
    assert "\x1b[2J" not in text
    assert "title" not in text
    assert "\x08" not in text


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_went_away_does_not_stop_the_run() -> None:
    output = Output(Closed())

    output.line("one")
    output.line("two")


def test_a_poor_encoding_loses_characters_only() -> None:
    raw = io.BytesIO()

    stream = io.TextIOWrapper(raw, encoding="ascii")
    Output(stream).line("✔ done")

    assert raw.getvalue() == b"? done\n"

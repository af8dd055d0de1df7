"""Steps that wait: for a time, an event, a worker elsewhere, a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, overload

from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.adding import Adding, OfBoth, OfData
from wfe.core.builder.drafts import Draft
from wfe.core.definition import Cel, Kind, Value
from wfe.core.errors import DefinitionError
from wfe.core.micros import to_micros

if TYPE_CHECKING:
    from wfe.core.builder.chain import StepBuilder

__all__ = ["WaitingMixin"]

D = TypeVar("D", default=Any)


class WaitingMixin(Adding[D]):
    """Adds waits to the end of a block."""

    @overload
    def delay(self, duration: timedelta | OfData[D] | Cel) -> StepBuilder[D, None]: ...
    @overload
    def delay(self, duration: OfBoth[D]) -> StepBuilder[D, None]: ...
    def delay(self, duration: Any) -> StepBuilder[D, None]:
        """Wait, without holding a worker.

        Args:
            duration: A timedelta, or a callable that gives one.

        Raises:
            DefinitionError: It is neither, or negative.
        """
        draft = Draft(kind=Kind.DELAY, method="delay()", base="delay")
        if isinstance(duration, Cel) or callable(duration):
            draft.compute("duration", args.computed(duration, "delay()", "a timedelta"))
        else:
            micros = args.micros(duration, "the duration of delay()")
            draft.exprs["duration"] = args.literal(micros, "duration")
        return self._added(draft)

    @overload
    def schedule(self, at: datetime | OfData[D] | Cel) -> StepBuilder[D, None]: ...
    @overload
    def schedule(self, at: OfBoth[D]) -> StepBuilder[D, None]: ...
    def schedule(self, at: Any) -> StepBuilder[D, None]:
        """Wait until a time of the wall clock, without holding a worker; past times do not wait.

        Args:
            at: A datetime with a time zone, a callable that gives one, or ``expr("...")``.

        Raises:
            DefinitionError: It is none of these.
        """
        draft = Draft(kind=Kind.DELAY, method="schedule()", base="schedule")
        if isinstance(at, datetime):
            if at.tzinfo is None or at.utcoffset() is None:
                problem = f"schedule() needs a time zone to know when {at.isoformat()} is"
                hint = "for example datetime(2030, 1, 1, tzinfo=UTC)"
                raise DefinitionError(problem, None, hint)
            draft.exprs["at"] = Value(to_micros(at))
        else:
            wanted = 'a datetime, a callable that gives one or expr("...")'
            draft.compute("at", args.computed(at, "schedule()", wanted))
        return self._added(draft)

    @overload
    def wait_for(
        self,
        name: str,
        *,
        key: OfData[D] | str | int | Cel | None = None,
        timeout: timedelta | float | None = None,
        output: str | None = None,
        as_of: OfData[D] | Cel | None = None,
    ) -> StepBuilder[D, None]: ...
    @overload
    def wait_for(
        self,
        name: str,
        *,
        key: OfBoth[D],
        timeout: timedelta | float | None = None,
        output: str | None = None,
        as_of: OfData[D] | OfBoth[D] | Cel | None = None,
    ) -> StepBuilder[D, None]: ...
    @overload
    def wait_for(
        self,
        name: str,
        *,
        scope: Literal["run"],
        timeout: timedelta | float | None = None,
        output: str | None = None,
    ) -> StepBuilder[D, None]: ...
    def wait_for(
        self,
        name: str,
        *,
        key: Any = None,
        timeout: timedelta | float | None = None,
        output: str | None = None,
        as_of: Any = None,
        scope: Any = None,
    ) -> StepBuilder[D, None]:
        """Wait for the event *name* with *key*, or for a signal to this run.

        Args:
            name: Of the event or signal.
            key: A callable, a constant or ``expr("...")``; ``None``: the empty key.
            timeout: The step fails with ``StepTimeoutError`` after this (a number is seconds);
                ``None``: it waits without end.
            output: Data field for the event's data.
            as_of: A callable that gives a time: earlier events do not count; ``None``: the run's
                start.
            scope: ``"run"``: wait for ``host.signal(run, name, data)``, which needs neither *key*
                nor *as_of*.

        Raises:
            DefinitionError: An argument does not fit.
        """
        draft = Draft(kind=Kind.WAIT_FOR, method="wait_for()", base="wait_for")
        draft.config["event"] = args.check_text("the event of wait_for()", name)
        if scope is not None:
            _of_run(scope, key, as_of)
            draft.config["scope"] = "run"
        if isinstance(key, str | int) and not isinstance(key, bool):
            draft.exprs["key"] = args.literal(key, "the key of wait_for()")
        elif key is not None:
            wanted = 'a callable, a text, a number or expr("...")'
            found = args.computed(key, "the key of wait_for()", wanted)
            draft.compute("key", found)
        if as_of is not None:
            wanted = 'a callable that gives a time or expr("...")'
            draft.compute("as_of", args.computed(as_of, "as_of of wait_for()", wanted))
        _set_end(draft, timeout, output)
        return self._added(draft)

    @overload
    def activity(
        self,
        name: str,
        *,
        parameters: OfData[D] | Mapping[str, Any] | Cel | None = None,
        output: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> StepBuilder[D, None]: ...
    @overload
    def activity(
        self,
        name: str,
        *,
        parameters: OfBoth[D],
        output: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> StepBuilder[D, None]: ...
    def activity(
        self,
        name: str,
        *,
        parameters: Any = None,
        output: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> StepBuilder[D, None]:
        """Offer work to a worker outside, which claims it by *name*, and wait for its result.

        Args:
            name: Of the activity.
            parameters: What the worker gets: a callable, a mapping or ``expr("...")``.
            output: Data field for the result.
            timeout: The step fails with ``StepTimeoutError`` after this (a number is seconds);
                ``None``: it waits without end.

        Raises:
            DefinitionError: An argument does not fit.
        """
        draft = Draft(kind=Kind.ACTIVITY, method="activity()", base="activity")
        draft.config["name"] = args.check_text("the name of activity()", name)
        what = "parameters of activity()"
        if isinstance(parameters, Mapping):
            draft.exprs["parameters"] = args.record(parameters, what)  # pyright: ignore[reportUnknownArgumentType]
        elif parameters is not None:
            wanted = 'a callable, a mapping or expr("...")'
            draft.compute("parameters", args.computed(parameters, what, wanted))
        _set_end(draft, timeout, output)
        return self._added(draft)

    @overload
    def approval(
        self,
        prompt: str | OfData[D] | Cel,
        *,
        options: Sequence[str] = ("yes", "no"),
        output: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> StepBuilder[D, None]: ...
    @overload
    def approval(
        self,
        prompt: OfBoth[D],
        *,
        options: Sequence[str] = ("yes", "no"),
        output: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> StepBuilder[D, None]: ...
    def approval(
        self,
        prompt: Any,
        *,
        options: Sequence[str] = ("yes", "no"),
        output: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> StepBuilder[D, None]:
        """Ask a person, and wait for the answer; ``when(option, branch)`` may follow.

        Args:
            prompt: The question: a text, a callable or ``expr("...")``.
            options: What may be answered.
            output: Data field for the answer, one of *options*.
            timeout: The step fails with ``StepTimeoutError`` after this (a number is seconds);
                ``None``: it waits without end.

        Raises:
            DefinitionError: An argument does not fit.
        """
        draft = Draft(kind=Kind.APPROVAL, method="approval()", base="approval")
        if isinstance(prompt, str):
            if not prompt.strip():
                raise DefinitionError("the prompt of approval() must not be empty")
            draft.config["prompt"] = args.literal(prompt, "the prompt of approval()").value
        else:
            wanted = 'a text, a callable or expr("...")'
            draft.compute("prompt", args.computed(prompt, "the prompt of approval()", wanted))
        draft.config["options"] = _options(options)
        _set_end(draft, timeout, output)
        return self._added(draft)


def _of_run(scope: object, key: object, as_of: object) -> None:
    if scope != "run":
        problem = f'scope of wait_for() must be "run", got {args.got(scope)}'
        raise DefinitionError(problem, None, "leave it out to wait for a published event")
    for name, given in (("key", key), ("as_of", as_of)):
        if given is not None:
            problem = f'{name} of wait_for() has no meaning with scope="run"'
            raise DefinitionError(problem, None, "a signal goes to one run; leave it out")


def _set_end(draft: Draft, timeout: timedelta | float | None, output: str | None) -> None:
    """Set how long a wait may take, and where its result goes."""
    if timeout is not None:
        draft.config["timeout"] = args.seconds(timeout, f"the timeout of {draft.method}")
    if output is not None:
        draft.config["output"] = args.check_text(f"the output of {draft.method}", output)


def _options(given: Sequence[str]) -> list[str]:
    what = "options of approval()"
    if not args.is_filled_list(given):
        raise DefinitionError(f'{what} takes texts, such as ["yes", "no"], got {args.got(given)}')
    options = [args.check_text(f"each of the {what}", option) for option in given]
    for position, option in enumerate(options):
        if option in options[:position]:
            raise DefinitionError(f"{what} has {option!r} twice", None, "leave one of them out")
    return options

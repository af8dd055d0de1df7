"""What is said of one step, after it was added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, Self, TypeAlias, overload

from typing_extensions import TypeVar

from wfe.core.builder import arguments as args
from wfe.core.builder.drafts import Draft
from wfe.core.caching import Caching
from wfe.core.definition import Cel, Expr, Kind, Value
from wfe.core.errors import DefinitionError
from wfe.core.globs import GlobError, check_pattern
from wfe.core.policies import ErrorPolicy
from wfe.core.secret_names import SecretNameError, check_secret_name
from wfe.core.steps import StepExecutionContext

__all__ = ["StepSettingsMixin", "input_value", "set_output"]

D = TypeVar("D", default=Any)
B = TypeVar("B", default=Any)

OfData: TypeAlias = "Callable[[D], Any]"
OfBoth: TypeAlias = "Callable[[D, StepExecutionContext[D]], Any]"
Constant: TypeAlias = "Mapping[str, Any] | list[Any] | str | float | bool | Cel | None"


class StepSettingsMixin(Generic[D, B]):
    """Name, inputs and outputs, failure and time-out of the step added last."""

    _draft: Draft

    def name(self, name: str) -> Self:
        """Name the step, instead of after its class or function.

        Raises:
            DefinitionError: It cannot be a name, or the step has one.
        """
        if self._draft.name is not None:
            problem = f"the step is called {self._draft.name!r} already"
            raise DefinitionError(problem, None, "call name() once")
        self._draft.name = args.check_text("the name of a step", name, None)
        return self

    def id(self, id: str) -> Self:
        """Give the step an id for ``goto``; without a ``name`` it is its name, too.

        Raises:
            DefinitionError: It cannot be an id, or the step has one.
        """
        if self._draft.id is not None:
            problem = f"the step has the id {self._draft.id!r} already"
            raise DefinitionError(problem, None, "call id() once")
        self._draft.id = args.check_text("the id of a step", id, None)
        return self

    @overload
    def input(self, name: str, value: OfData[D] | Constant) -> Self: ...
    @overload
    def input(self, name: str, value: OfBoth[D]) -> Self: ...
    def input(self, name: str, value: Any) -> Self:
        """Set a field of the body (or a parameter of the function) before each attempt.

        Args:
            name: Of the field or parameter.
            value: A callable over the data, a CEL text, or a constant.

        Raises:
            DefinitionError: *value* is no plain JSON, or *name* was given before.
        """
        draft = self._step("input()")
        args.check_text("the name of an input", name, draft.shown)
        if name in draft.inputs:
            problem = f"input {name!r} is given twice"
            raise DefinitionError(problem, draft.shown, "leave one of them out")
        draft.inputs[name] = draft.keep(f"input:{name}", input_value(name, value, draft.shown))
        return self

    def secrets(self, *names: str) -> Self:
        """Give the step these secrets, in ``ctx.secrets``; see ``WorkflowHost(secrets=...)``.

        Their values are never stored, and masked in the log and in errors.

        Raises:
            DefinitionError: A name cannot be that of a secret.
        """
        draft = self._step("secrets()")
        for name in names:
            try:
                draft.secrets[check_secret_name(name)] = None
            except SecretNameError as error:
                raise DefinitionError(str(error), draft.shown) from None
        return self

    def output(self, field: str, mapper: Callable[[B], Any] | None = None) -> Self:
        """Store something of the finished step in a data field.

        Args:
            field: Of the data.
            mapper: Over the body (a class step) or what the function returned; ``None``: what the
                step returned.

        Raises:
            DefinitionError: *mapper* is no such callable, or *field* was given before.
        """
        draft = self._step("output()")
        args.check_text("the field of output()", field, draft.shown)
        set_output(draft, field, mapper)
        return self

    def on_error(self, policy: ErrorPolicy) -> Self:
        """Say what happens when the step fails.

        Raises:
            DefinitionError: *policy* is none.
        """
        draft = self._draft
        if draft.kind in (Kind.GOTO, Kind.END):
            problem = f"on_error() has no meaning after {draft.method}"
            raise DefinitionError(problem, draft.shown, "leave it out")
        draft.on_error = args.policy(policy, "on_error()", draft.shown)
        return self

    def timeout(self, timeout: timedelta | float) -> Self:
        """Fail an attempt that takes longer than this; a number is seconds.

        A container has it for all that is in it, a sub-workflow for the whole child.

        Raises:
            DefinitionError: It is not positive, or has no meaning here.
        """
        draft = self._draft
        if draft.kind in _TIMELESS:
            problem = f"timeout() has no meaning after {draft.method}"
            hint = _TIMELESS[draft.kind].format(draft.method.removesuffix("()"))
            raise DefinitionError(problem, draft.shown, hint)
        draft.timeout = args.seconds(timeout, "timeout()", draft.shown)
        return self

    def cache(
        self,
        *,
        key: OfData[D] | OfBoth[D] | str | Cel | None = None,
        files: str | Sequence[str] = (),
        ttl: timedelta | float | None = None,
        inputs: bool = True,
        env: str | Sequence[str] = (),
        platform: bool = False,
        salt: str = "",
    ) -> Self:
        """Take the step's result from an earlier run of it when nothing that counts has changed.

        What counts: the definition's id, the step's name, its source, its inputs and parameters,
        and what is named here.  What it calls, imports or reads from elsewhere does not, and what
        it does besides returning results is not done again.  Only successes are kept.

        Args:
            key: A value that counts: a callable over the data, or a CEL text.
            files: Glob patterns below the current directory; the contents of what they match count.
            ttl: How long a result may be used; a number is seconds; ``None``: while it is kept.
            inputs: Whether inputs and parameters count.
            env: Names of environment variables that count.
            platform: Whether operating system, machine and Python's version count.
            salt: Change it to begin anew.

        Raises:
            DefinitionError: The step has no body, a pattern leads out of the directory, or the
                time is not positive.
        """
        draft = self._step("cache()")
        if draft.cache is not None:
            raise DefinitionError("cache() is given twice", draft.shown, "leave one of them out")
        patterns = [files] if isinstance(files, str) else list(files)
        names = [env] if isinstance(env, str) else list(env)
        draft.cache = Caching(
            key=None if key is None else _cache_key(draft, key),
            inputs=bool(inputs),
            env=tuple(args.check_text("an environment variable", n, draft.shown) for n in names),
            files=tuple(Value(_checked_pattern(each, draft.shown)) for each in patterns),
            ttl=None if ttl is None else args.seconds(ttl, "cache(ttl=...)", draft.shown),
            platform=bool(platform),
            salt=str(salt),
        )
        return self

    @overload
    def run_if(self, condition: OfData[D] | str | Cel | bool) -> Self: ...
    @overload
    def run_if(self, condition: OfBoth[D]) -> Self: ...
    def run_if(self, condition: Any) -> Self:
        """Skip the step (it counts as done) unless *condition* (callable or CEL) holds.

        Raises:
            DefinitionError: *condition* is neither.
        """
        draft = self._draft
        found = args.condition(condition, "run_if()", draft.shown)
        draft.run_if = draft.keep("run_if", found)
        return self

    @overload
    def cancel_when(
        self, condition: OfData[D] | str | Cel | bool, *, proceed: bool = False
    ) -> Self: ...
    @overload
    def cancel_when(self, condition: OfBoth[D], *, proceed: bool = False) -> Self: ...
    def cancel_when(self, condition: Any, *, proceed: bool = False) -> Self:
        """Cancel the step as soon as *condition* (callable or CEL) holds.

        Args:
            condition: Over the data.
            proceed: Go on after the step then; otherwise its branch ends there.

        Raises:
            DefinitionError: *condition* is neither, was given before, or has no meaning here.
        """
        draft = self._draft
        if draft.kind in (Kind.GOTO, Kind.END):
            problem = f"cancel_when() has no meaning after {draft.method}"
            raise DefinitionError(problem, draft.shown, "leave it out")
        if draft.cancel_when is not None:
            problem = "cancel_when() is given twice"
            raise DefinitionError(problem, draft.shown, "make one condition of both")
        found = args.condition(condition, "cancel_when()", draft.shown)
        draft.cancel_when = draft.keep("cancel_when", found)
        draft.config["proceed"] = bool(proceed)
        return self

    def _step(self, method: str) -> Draft:
        draft = self._draft
        if draft.kind is not Kind.STEP:
            problem = f"{method} has no meaning after {draft.method}"
            raise DefinitionError(problem, draft.shown, "it belongs to a step with a body")
        return draft


_TIMELESS: Final[Mapping[Kind, str]] = {
    Kind.DELAY: "wait for a shorter time",
    Kind.WAIT_FOR: "write {}(..., timeout=...)",
    Kind.ACTIVITY: "write {}(..., timeout=...)",
    Kind.APPROVAL: "write {}(..., timeout=...)",
    Kind.GOTO: "leave it out",
    Kind.END: "leave it out",
}


def _cache_key(draft: Draft, key: Any) -> Expr:
    what = "cache(key=...)"
    if isinstance(key, str):
        return args.cel_text(key, what, draft.shown)
    found = args.computed(key, what, "a callable over the data", draft.shown)
    return draft.keep("cache:key", found)


def _checked_pattern(pattern: object, where: str) -> str:
    text = args.check_text("a pattern of cache(files=...)", pattern, where)
    try:
        check_pattern(text)
    except GlobError as error:
        raise DefinitionError(f"cache(files=...): {error}", where) from error
    return text


def input_value(name: str, value: Any, where: str) -> tuple[Any, Any]:
    """Return the expression of an input and its callable, if it has one.

    Raises:
        DefinitionError: It is no plain JSON.
    """
    what = f"input {name!r}"
    if isinstance(value, str):
        return args.cel_text(value, what, where), None
    if isinstance(value, args.EXPRS) or (callable(value) and not isinstance(value, type)):
        return args.computed(value, what, "a callable over the data", where)
    return args.literal(value, what, where), None


def set_output(draft: Draft, field: str, mapper: Any) -> None:
    """Store something of the finished step in data field *field*.

    Raises:
        DefinitionError: *mapper* is no callable over the step, or *field* was given before.
    """
    where = draft.shown
    if field in draft.outputs or draft.config.get("output") == field:
        problem = f"output {field!r} is given twice"
        raise DefinitionError(problem, where, "leave one of them out")
    if mapper is not None:
        role = f"output:{field}"
        function = args.mapper(mapper, f"output {field!r}", where)
        draft.outputs[field] = draft.keep(role, (args.CALL, function))
    elif "output" in draft.config:
        problem = f"the result goes to {draft.config['output']!r} already"
        hint = f"give output({field!r}, ...) a mapper: lambda s: ..."
        raise DefinitionError(problem, where, hint)
    else:
        draft.config["output"] = field

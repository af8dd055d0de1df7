"""Check the ``config`` of a step against its type, and fill what the language gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

import attrs

from wfe.core.definition import Expr, Record, Value
from wfe.core.errors import WfeError
from wfe.core.lean import define, frozen
from wfe.core.step_types import COMPUTED, Role, Setting, StepType
from wfe.yaml.code_settings import read_code
from wfe.yaml.context import Context
from wfe.yaml.diagnostics import Span, nearest
from wfe.yaml.leaf import config_timeout, read_config
from wfe.yaml.modifiers import read_surroundings
from wfe.yaml.scope import Scope
from wfe.yaml.setting_values import Values
from wfe.yaml.settings import setting_type
from wfe.yaml.step_inputs import input_env, input_values, workflow_env
from wfe.yaml.tree import Entry, MapNode, Scalar

__all__ = ["Config", "check_config", "config_keys", "step_of"]

_SURROUNDINGS: Final = {
    "env": Role.ENV,
    "env_from_host": Role.HOST_ENV,
    "working_dir": Role.DIRECTORY,
}


@frozen(kw_only=True)
class Config:
    """What a step gives its class.

    Attributes:
        fields: Field of the class to expression; ``None`` when something is wrong.
        values: Keys that are written: constants converted, :data:`COMPUTED` for the others.
        timeout: That stands in ``config``, in µs.
    """

    fields: tuple[tuple[str, Expr], ...] | None
    values: Mapping[str, Any]
    timeout: int | None


def step_of(name: str) -> str:
    """Return what messages call a step of the type *name*."""
    article = "an" if name[:1] in "aeio" or name.startswith("http") else "a"
    return f"{article} {name} step"


def config_keys(kind: StepType) -> tuple[str, ...]:
    """Return the keys that ``config`` of a step of this type may have."""
    own = [each.name for each in kind.settings if each.in_config]
    given = [key for key, role in _SURROUNDINGS.items() if kind.of_role(role) is not None]
    # A class with a `timeout` of its own still ends by the step's: there is one key for it.
    return tuple(dict.fromkeys([*own, *given, "timeout"]))


def check_config(kind: StepType, step: MapNode, context: Context, scope: Scope) -> Config:
    """Check the ``config`` of *step* (and its short form ``run``); *scope* is the step's own."""
    config = read_config(step, context)
    what = step_of(kind.name)
    keys = config_keys(kind)
    known = dict(context.reader.keys(config, f"the `config` of {what}", keys))
    # An `inputs` list is read with the scope outside of `config.env`, as the step's own keys are.
    given = input_env(step, context, scope) if kind.of_role(Role.INPUTS) is None else {}
    inputs = input_values(step, context, scope) if kind.of_role(Role.INPUTS) else None
    around = {key: known[key] for key in _SURROUNDINGS if key in known and key in keys}
    scope = read_surroundings(attrs.evolve(config, entries=around), context, scope)
    checker = _Config(kind, step, config, known, context, scope)
    own = checker.settings()
    timeout = config_timeout(step, known, context)
    if own is None:
        return Config(fields=None, values=checker.values, timeout=timeout)
    env = {**workflow_env(scope), **given, **scope.env, **checker.code_env}
    fields = (*own, *checker.language(env, inputs))
    return Config(fields=fields, values=checker.values, timeout=timeout)


@define
class _Config:
    kind: StepType
    step: MapNode
    config: MapNode
    known: Mapping[str, Entry]
    context: Context
    scope: Scope
    values: dict[str, Any] = attrs.field(factory=dict[str, Any])
    code_env: dict[str, Expr] = attrs.field(factory=dict[str, Expr])
    origin: Mapping[str, Any] | None = None

    def settings(self) -> tuple[tuple[str, Expr], ...] | None:
        """Return the fields that stand in ``config``; ``None`` when one is wrong."""
        fields: list[tuple[str, Expr]] = []
        right = True
        for setting in self.kind.settings:
            if not setting.in_config:
                continue
            entry = self._entry(setting)
            if entry is None:
                right = self._absent(setting) and right
                continue
            expr = self._setting(setting, entry)
            if expr is None:
                right = False
                # It is there, whatever it is: the hooks need not say that it is missing.
                self.values[setting.name] = COMPUTED
            else:
                fields.append((setting.field, expr))
        right = self._hooks() and right
        return tuple(fields) if right else None

    def _entry(self, setting: Setting) -> Entry | None:
        if setting.name in self.known:
            return self.known[setting.name]
        # The short form: `run:` on a shell step.
        if setting.name == "run" and self.kind.name == "shell":
            return self.step.entries.get("run")
        return None

    def _absent(self, setting: Setting) -> bool:
        if not setting.required:
            return True
        misspelt = any(nearest(name, (setting.name,)) for name in self._unknown())
        if not misspelt and isinstance(self.step.get("config"), MapNode | None):
            what = step_of(self.kind.name)
            hint = f"write it under `config.{setting.name}`"
            if self.kind.name == "shell":
                hint = "write the command under `config.run`"
            self.context.reader.missing(self.config, what, setting.name, hint)
        return False

    def _unknown(self) -> list[str]:
        return [name for name in self.config.entries if name not in self.known]

    def _setting(self, setting: Setting, entry: Entry) -> Expr | None:
        if setting.role is Role.CODE:
            return self._code(setting, entry)
        kind = setting_type(setting.type)
        if setting.choices:
            kind = attrs.evolve(kind, kind="choice", choices=setting.choices)
        constant = setting.role is Role.CONSTANT
        values = Values(self.context, self.scope.for_secrets(), constant=constant)
        what = f"`{setting.name}`"
        expr = values.read(entry.value, kind, what, as_written=setting.name == "args")
        if expr is None:
            return None
        if not isinstance(expr, Value):
            self.values[setting.name] = COMPUTED
            return expr
        return expr if self._valid(setting, entry, kind.convert(expr.value)) else None

    def _code(self, setting: Setting, entry: Entry) -> Expr | None:
        language = setting.language
        if setting.language_key is not None:
            language = self._language(setting.language_key) or language
        env = self.kind.of_role(Role.ENV) is not None
        code = read_code(
            entry.value, setting.name, language, self.context, self.scope, variables=env
        )
        if code is None:
            return None
        self.code_env.update(code.env)
        if isinstance(entry.value, Scalar):
            at = entry.value.locate(0)
            self.origin = {"file": at.source.name, "line": at.line, "column": at.column}
        self.values[setting.name] = code.text
        return Value(code.text)

    def _language(self, key: str) -> str | None:
        setting = next((s for s in self.kind.settings if key in {s.name, s.field}), None)
        entry = None if setting is None else self.known.get(setting.name)
        if entry is None:
            default = None if setting is None else setting.default
            return default if isinstance(default, str) else None
        written = getattr(entry.value, "value", None)
        return written if isinstance(written, str) else None

    def _valid(self, setting: Setting, entry: Entry, value: object) -> bool:
        """Ask the field's own converter and validator what they say to a constant."""
        field = next(f for f in attrs.fields(self.kind.cls) if f.name == setting.field)
        try:
            converted = _converted(field, value)
            if field.validator is not None:
                field.validator(None, field, converted)
        except (TypeError, ValueError, WfeError) as error:
            message = _refusal(setting.name, str(error.args[0]) if error.args else str(error))
            self.context.problems.error("WFE015", entry.value.span, message)
            return False
        self.values[setting.name] = converted
        return True

    def _hooks(self) -> bool:
        """Ask the class what it says to the whole config."""
        problems, right = self.context.problems, True
        # What an unknown key was meant to be may be just what the hooks would miss.
        if not isinstance(self.step.get("config"), MapNode | None) or self._unknown():
            return False
        for at, message, hint in self._said("check_config"):
            problems.error("WFE060", at, message, hint)
            right = False
        for at, message, hint in self._said("notices"):
            problems.warning("WFE110", at, message, hint)
        return right

    def _said(self, hook: str) -> Iterator[tuple[Span, str, str | None]]:
        ask = getattr(self.kind.cls, hook, None)
        said: Iterable[tuple[str, str, str | None]] = () if ask is None else ask(dict(self.values))
        for key, message, hint in said:
            entry = self.known.get(key)
            yield (self.config.span if entry is None else entry.key.span), message, hint

    def language(
        self, env: Mapping[str, Expr], inputs: Mapping[str, Expr] | None
    ) -> Iterable[tuple[str, Expr]]:
        """Yield the fields that the language gives, but for what only the host knows."""
        given: Mapping[Role, Expr] = {
            Role.ENV: Record(tuple(env.items())),
            Role.HOST_ENV: Value(list(self.scope.host_env)),
            Role.DIRECTORY: self.scope.working_dir or Value(None),
            Role.INPUTS: Record(tuple((inputs or {}).items())),
            Role.COMMANDS: Value(self.scope.commands),
            Role.ORIGIN: Value(self.origin),
        }
        for setting in self.kind.settings:
            if setting.role in given:
                yield setting.field, given[setting.role]


def _refusal(name: str, reason: str) -> str:
    """Return what a validator said; those of attrs name the field and the value themselves."""
    said = re.fullmatch(r"'\w+' (must .+): (\S+)", reason)
    return f"`{name}` {said[1]}, not {said[2]}" if said else f"`{name}` is not accepted: {reason}"


def _converted(field: attrs.Attribute[Any], value: object) -> object:
    convert: object = cast("Any", field).converter
    # One that wants the instance runs when the step does.
    return convert(value) if callable(convert) else value

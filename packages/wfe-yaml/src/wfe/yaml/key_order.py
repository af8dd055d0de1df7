"""In which order the keys of a workflow file stand after formatting."""

from __future__ import annotations

from typing import Final

from wfe.core.lean import frozen

__all__ = ["ROOT", "Role", "rank", "role_of"]

REST: Final = "*"
"""Where keys stand that are not named, in the order in which they were written."""

FILE: Final = ("include", "types", REST, "workflow", "workflows")

WORKFLOW: Final = (
    "id",
    "version",
    "name",
    "description",
    "extends",
    "<<",
    "triggers",
    "concurrency",
    "timeout",
    "retention",
    "inputs",
    "outputs",
    "secrets",
    "env_from_host",
    "env",
    "working_dir",
    "shared_volume",
    "services",
    "error_behavior",
    "defaults",
    REST,
    "steps",
)

HOOKS: Final = ("on_success", "on_failure", "on_error", "on_abort", "ensure", "compensate")
"""Keys of a step whose value is a step or a list of steps."""

CONTROL_STEPS: Final = ("parallel", "do", "try", "then", "else", "default")
"""Keys of a control step whose value is a step or a list of steps."""

STEP: Final = (
    "name",
    "id",
    "extends",
    "<<",
    "type",
    "needs",
    "needs_any",
    "when",
    "runs_on",
    "concurrency",
    "timeout",
    "retry",
    "error_behavior",
    "continue_on_error",
    "if",
    "switch",
    "while",
    "for_each",
    "as",
    "matrix",
    "include",
    "exclude",
    "max_iterations",
    "limit",
    "join",
    "fail_fast",
    "sequential",
    "wait_for",
    "delay",
    "until",
    "approval",
    "inputs",
    "outputs",
    "secrets",
    "env_from_host",
    "env",
    "working_dir",
    "services",
    "commands",
    "untrusted",
    "cache",
    "artifacts",
    REST,
    "config",
    "run",
    "parallel",
    "do",
    "try",
    "saga",
    "then",
    "else",
    "cases",
    "default",
    *HOOKS,
)


def rank(order: tuple[str, ...], key: str) -> int:
    """Return the place of *key* in *order*."""
    return order.index(key) if key in order else order.index(REST)


@frozen
class Role:
    """What a map is, as far as it decides about the order of its keys and of what is in it."""

    order: tuple[str, ...] | None = None
    inner: str = ""


_PLAIN: Final = Role()
ROOT: Final = Role(FILE, "file")
"""What the map at the top of a file is."""
_WORKFLOW: Final = Role(WORKFLOW, "workflow")
_STEP: Final = Role(STEP, "step")
_CASES: Final = Role(None, "cases")
_SAGA: Final = Role(None, "saga")
_STEP_VALUES: Final = frozenset({*HOOKS, *CONTROL_STEPS})


def role_of(key: str, role: Role) -> Role:
    """Return the role of the map, or of the maps in the list, that is the value of *key*."""
    match role.inner:
        case "file":
            return _WORKFLOW if key in {"workflow", "workflows"} else _PLAIN
        case "workflow":
            return _STEP if key == "steps" else _PLAIN
        case "step" if key in _STEP_VALUES:
            return _STEP
        case "step":
            return {"cases": _CASES, "saga": _SAGA}.get(key, _PLAIN)
        case "cases":
            return _STEP
        case "saga":
            return _STEP if key == "steps" else _PLAIN
        case _:
            return _PLAIN

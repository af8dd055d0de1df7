"""The keys of the language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "CONTROLS",
    "DEFAULTS",
    "EVENT_WAIT",
    "FILE",
    "HANDED_DOWN",
    "KIND_KEYS",
    "LEAF_KEYS",
    "LEAF_MODIFIERS",
    "MODIFIERS",
    "RESERVED_ENV",
    "WORKFLOW",
    "reserved_env",
]

FILE: Final = ("workflow", "workflows", "include", "types")

WORKFLOW: Final = (
    "id",
    "version",
    "name",
    "description",
    "inputs",
    "outputs",
    "steps",
    "error_behavior",
    "timeout",
    "env",
    "env_from_host",
    "working_dir",
    "defaults",
    "concurrency",
    "services",
    "shared_volume",
    "triggers",
    "retention",
    "runs_on",
    "extends",
    "override",
)

MODIFIERS: Final = (
    "name",
    "id",
    "when",
    "timeout",
    "retry",
    "error_behavior",
    "continue_on_error",
    "env",
    "env_from_host",
    "working_dir",
    "needs",
    "needs_any",
    "on_success",
    "on_failure",
    "on_error",
    "on_abort",
    "ensure",
    "compensate",
    "concurrency",
    "runs_on",
    "extends",
)
EVENT_WAIT: Final = "wait_for"
"""The type of the body of a wait whose payload is checked; no file can write it."""
LEAF_MODIFIERS: Final = ("cache", "secrets", "artifacts", "commands", "untrusted")
HANDED_DOWN: Final = ("secrets", "commands", "untrusted")
"""Those that a container has for the steps inside."""
LEAF_KEYS: Final = ("type", "config", "run", "inputs", "outputs")
KIND_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "parallel": ("parallel", "limit", "fail_fast", "join"),
    "do": ("do",),
    "try": ("try",),
    "if": ("if", "then", "else"),
    "switch": ("switch", "cases", "default"),
    "for_each": ("for_each", "as", "do", "limit", "fail_fast", "sequential"),
    "matrix": ("matrix", "exclude", "include", "do", "limit", "fail_fast", "sequential"),
    "while": ("while", "do", "max_iterations"),
    "saga": ("saga",),
    "wait_for": ("wait_for",),
    "approval": ("approval",),
    "delay": ("delay",),
    "until": ("until",),
}
CONTROLS: Final = tuple(KIND_KEYS)
DEFAULTS: Final = (
    "retry",
    "error_behavior",
    "timeout",
    "env",
    "env_from_host",
    "working_dir",
    "shell",
    "continue_on_error",
    "secrets",
    "runs_on",
    "commands",
    "untrusted",
)

RESERVED_ENV: Final = frozenset(
    {
        "BASH_ENV",
        "ENV",
        "HOME",
        "IFS",
        "LOGNAME",
        "NODE_OPTIONS",
        "PATH",
        "PERL5OPT",
        "PROMPT_COMMAND",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "RUBYOPT",
        "SHELL",
        "SHELLOPTS",
        "BASHOPTS",
        "TERM",
        "TMPDIR",
        "USER",
    }
)
"""Names that loaders, shells and interpreters act on; inputs never become these."""


# What pipelines call their own; git gives these no meaning.
_HARMLESS: Final = frozenset(
    f"GIT_{word}" for word in ("BRANCH", "COMMIT", "REF", "REPO", "SHA", "TAG", "TOKEN", "URL")
)


def reserved_env(name: str) -> bool:
    """Whether programs give the environment variable *name* a meaning of its own."""
    if name in _HARMLESS or name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_")):
        return False
    return name in RESERVED_ENV or name.startswith(("LD_", "DYLD_", "WFE_", "GIT_", "BASH_FUNC_"))

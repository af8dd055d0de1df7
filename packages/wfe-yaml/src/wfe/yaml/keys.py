"""The keys of the language: those this version reads, and those of later versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "CONTROLS",
    "DEFAULTS",
    "FILE",
    "FILE_LATER",
    "KIND_KEYS",
    "LATER_KINDS",
    "LATER_TYPES",
    "LEAF_KEYS",
    "MODIFIERS",
    "MODIFIERS_LATER",
    "RESERVED_ENV",
    "WORKFLOW",
    "WORKFLOW_LATER",
    "reserved_env",
]

FILE: Final = ("workflow", "workflows", "types")
FILE_LATER: Final = ("include",)

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
)
WORKFLOW_LATER: Final = (
    "concurrency",
    "services",
    "shared_volume",
    "triggers",
    "retention",
    "extends",
    "secrets",
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
)
MODIFIERS_LATER: Final = (
    "on_success",
    "on_failure",
    "on_error",
    "on_abort",
    "ensure",
    "compensate",
    "cache",
    "secrets",
    "concurrency",
    "runs_on",
    "artifacts",
    "commands",
    "untrusted",
    "needs_any",
    "extends",
    "services",
)
LEAF_KEYS: Final = ("type", "config", "run", "inputs", "outputs")
KIND_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "parallel": ("parallel", "limit", "fail_fast", "join"),
    "do": ("do",),
    "if": ("if", "then", "else"),
    "for_each": ("for_each", "as", "do", "limit", "fail_fast", "sequential"),
    "while": ("while", "do", "max_iterations"),
    "wait_for": ("wait_for",),
    "delay": ("delay",),
}
CONTROLS: Final = tuple(KIND_KEYS)
LATER_KINDS: Final = ("try", "switch", "matrix", "until", "approval", "saga")
LATER_TYPES: Final = (
    "deno",
    "http",
    "python",
    "container",
    "containerd",
    "buildkit",
    "kubernetes",
    "k8s",
    "git-repo",
)
DEFAULTS: Final = ("retry", "timeout", "env", "env_from_host", "working_dir", "continue_on_error")

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


def reserved_env(name: str) -> bool:
    """Whether programs give the environment variable *name* a meaning of its own."""
    return name in RESERVED_ENV or name.startswith(("LD_", "DYLD_", "WFE_", "GIT_", "BASH_FUNC_"))

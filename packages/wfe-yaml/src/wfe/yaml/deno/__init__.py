"""Run JavaScript and TypeScript in Deno's sandbox."""

from __future__ import annotations

from wfe.yaml.deno.errors import (
    DenoCpuTimeError,
    DenoGrantError,
    DenoMemoryError,
    DenoScriptError,
    DenoStartError,
)
from wfe.yaml.deno.literals import literal_outputs
from wfe.yaml.deno.permissions import Permissions
from wfe.yaml.deno.step import Deno

__all__ = [
    "Deno",
    "DenoCpuTimeError",
    "DenoGrantError",
    "DenoMemoryError",
    "DenoScriptError",
    "DenoStartError",
    "Permissions",
    "literal_outputs",
]

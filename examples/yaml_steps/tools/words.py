"""Called by a step of the pipeline beside it."""

from __future__ import annotations

__all__ = ["judge"]


def judge(files: int, least: int) -> dict[str, object]:
    """Say whether there are enough files."""
    return {"enough": files >= least, "missing": max(0, least - files)}

"""What is said of a step whose result may come from an earlier run of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wfe.core.lean import frozen

if TYPE_CHECKING:
    from wfe.core.definition import Expr, Json

__all__ = ["Caching", "caching_from_json", "caching_to_json"]


@frozen(kw_only=True)
class Caching:
    """When the result of a step may be taken from the cache, and what counts for that.

    The key always has the definition's id, the step's name, its code and its constants.  Secrets
    count by name, never by value.

    Attributes:
        key: A value that counts; ``None``: none.  A callable one has the role ``cache:key``.
        inputs: Whether the evaluated inputs count.
        env: Names of the host's environment variables that count.
        files: Glob patterns (or lists of them) below the workspace; the contents of what they
            match count.  One that begins with ``!`` takes away.
        ttl: µs that a result may be used; ``None``: as long as it is kept.
        platform: Whether operating system, machine and Python's version count.
        salt: Change it to begin anew.
    """

    key: Expr | None = None
    inputs: bool = True
    env: tuple[str, ...] = ()
    files: tuple[Expr, ...] = ()
    ttl: int | None = None
    platform: bool = False
    salt: str = ""


def caching_to_json(caching: Caching, expr_to_json: Callable[[Expr], Json]) -> Json:
    """Return the stored form of *caching*."""
    stored: dict[str, Json] = {}
    if caching.key is not None:
        stored["key"] = expr_to_json(caching.key)
    if not caching.inputs:
        stored["inputs"] = False
    if caching.env:
        stored["env"] = list(caching.env)
    if caching.files:
        stored["files"] = [expr_to_json(each) for each in caching.files]
    if caching.ttl is not None:
        stored["ttl"] = caching.ttl
    if caching.platform:
        stored["platform"] = True
    if caching.salt:
        stored["salt"] = caching.salt
    return stored


def caching_from_json(stored: Mapping[str, Any], expr_from_json: Callable[[Json], Expr]) -> Caching:
    """Return what :func:`caching_to_json` stored."""
    return Caching(
        key=expr_from_json(stored["key"]) if "key" in stored else None,
        inputs=stored.get("inputs", True),
        env=tuple(stored.get("env", ())),
        files=tuple(expr_from_json(each) for each in stored.get("files", ())),
        ttl=stored.get("ttl"),
        platform=stored.get("platform", False),
        salt=stored.get("salt", ""),
    )

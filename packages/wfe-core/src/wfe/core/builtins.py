"""Step bodies that definitions name instead of bringing code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from wfe.core.definition import Node
from wfe.core.errors import DefinitionError
from wfe.core.nearest import nearest

__all__ = ["builtin_body"]


def builtin_body(node: Node) -> Any:
    """Return a new body for a step whose ``config["uses"]`` names a built-in one.

    Its constants are ``config["with"]``; where its result goes is ``config["output"]``.

    Raises:
        DefinitionError: There is no such built-in, or its constants do not fit.
    """
    uses = node.config["uses"]
    make = _MAKERS.get(uses)
    if make is None:
        raise DefinitionError(
            f"no built-in step is called {uses!r}{nearest(uses, _MAKERS)}", node.name
        )
    constants: Mapping[str, Any] = node.config.get("with", {})
    try:
        return make()(**constants, output=node.config.get("output"))
    except TypeError as error:
        raise DefinitionError(
            f"the constants of {uses!r} do not fit ({error})", node.name
        ) from error


def _http() -> Callable[..., Any]:
    from wfe.core.http import HttpRequest  # noqa: PLC0415 - only who uses it pays for it

    return HttpRequest


def _poll() -> Callable[..., Any]:
    from wfe.core.polling import PollEndpoint  # noqa: PLC0415 - only who uses it pays for it

    return PollEndpoint


_MAKERS: Final[Mapping[str, Callable[[], Callable[..., Any]]]] = {"http": _http, "poll": _poll}

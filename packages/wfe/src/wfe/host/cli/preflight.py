"""What must be there before a run begins: secrets, services, labels; else nothing runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast

from wfe.core.definition import WorkflowDefinition
from wfe.core.lean import frozen
from wfe.host.cli.errors import CommandError
from wfe.host.cli.requests import Request, reachable

__all__ = ["Needs", "preflight", "secrets_from", "with_own_labels"]


@frozen(kw_only=True)
class Needs:
    """What a command line says of the machine that it runs on.

    Attributes:
        secrets_file: Path of ``--secrets-file``.
        secrets: URLs of the configuration's providers.
        labels: Of ``--label`` and the configuration.
        services: Whether services must be there; ``False`` with ``--no-services``.
        caching: What steps with a ``cache`` do: ``on``, ``refresh`` or ``off``.
    """

    secrets_file: str | None = None
    secrets: Sequence[str] = ()
    labels: Sequence[str] = ()
    services: bool = True
    caching: str = "on"


async def preflight(request: Request, needs: Needs) -> dict[str, Any]:
    """Return the options of the host that is to drive the request.

    Raises:
        CommandError: Something is missing; nothing has run yet.
    """
    definitions = reachable(request.main, request.definitions)
    options: dict[str, Any] = {"caching": needs.caching}
    required = {label for each in definitions for label in each.requires}
    if required or needs.labels:
        options["labels"] = _labels(required, needs.labels)
    if needs.services:
        _check_services(definitions)
    if needs.secrets_file is not None:
        options["secrets"] = secrets_from(needs.secrets_file)
    elif needs.secrets:
        options["secrets"] = list(needs.secrets)
    if needs.secrets_file is not None or _any_secrets(definitions):
        await _check_secrets(definitions, request, options.get("secrets"))
    return options


def secrets_from(file: str) -> list[Any]:
    """Return who is asked for secrets with ``--secrets-file``: the file, then the environment."""
    from wfe.core.secret_files import FileSecrets  # noqa: PLC0415 - only with the option
    from wfe.core.secrets import EnvSecrets  # noqa: PLC0415 - likewise

    return [FileSecrets(file), EnvSecrets()]


def with_own_labels(required: Collection[str], given: Iterable[str]) -> frozenset[str]:
    """Return what this machine can do: what it finds itself only if *given* is too little."""
    own = frozenset(given)
    if own.issuperset(required):
        return own
    from wfe.yaml.labels import own_labels  # noqa: PLC0415 - the plugin

    return own | own_labels()


def _labels(required: set[str], given: Sequence[str]) -> frozenset[str]:
    """Return what this machine can do, unless that is too little."""
    own = with_own_labels(required, given)
    missing = sorted(required - own)
    if missing:
        named = ", ".join(repr(label) for label in missing)
        extra = " ".join(f"--label {label}" for label in missing)
        problem = f"the workflow runs on machines with the label {named}, and this one has not"
        raise CommandError(problem, f"its labels: {', '.join(sorted(own))}; if it fits: {extra}")
    return own


def _check_services(definitions: Iterable[WorkflowDefinition]) -> None:
    wanted = [each for each in definitions if each.meta.get("services")]
    if not wanted:
        return
    from wfe.yaml.services import missing_providers  # noqa: PLC0415 - the plugin

    problem = missing_providers(wanted)
    if problem is not None:
        hint = "install a distribution that starts services, or run without them: --no-services"
        raise CommandError(problem, hint)


def _any_secrets(definitions: Iterable[WorkflowDefinition]) -> bool:
    return any(getattr(node, "secrets", ()) for each in definitions for node in each.walk())


async def _check_secrets(
    definitions: Sequence[WorkflowDefinition], request: Request, given: Any
) -> None:
    from wfe.core.secrets import missing_secrets, open_secrets  # noqa: PLC0415 - only with secrets

    data: Any = request.data if request.resumed is None else request.resumed.data
    inputs: Any = cast("dict[str, Any]", data).get("inputs") if isinstance(data, dict) else None
    missing = await missing_secrets(definitions, open_secrets(given), inputs)
    if not missing:
        return
    lines = [
        f"{each.name}  (steps: {', '.join(each.steps)}; set {each.variable})" for each in missing
    ]
    problem = f"{len(missing)} secret{'' if len(missing) == 1 else 's'} missing; nothing was run"
    hint = "\n  ".join([*lines, "or give a file that has them: --secrets-file FILE"])
    raise CommandError(problem, hint)

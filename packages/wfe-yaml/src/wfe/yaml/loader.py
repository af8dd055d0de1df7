"""Load workflow files: from text or path to checked definitions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import DefinitionError
from wfe.yaml.diagnostics import Diagnostic, Problems, Source, WorkflowFileError, nearest
from wfe.yaml.files import read_source
from wfe.yaml.tree import Limits
from wfe.yaml.variables import Variables
from wfe.yaml.workflows import Checked, check_source

__all__ = ["check", "check_text", "load_workflow", "load_workflows"]

_TEXT_NAME = "<text>"


def check(
    paths: Iterable[str | os.PathLike[str]],
    variables: Mapping[str, Any] | Variables | None = None,
    *,
    limits: Limits | None = None,
    compat: bool = False,
) -> list[Diagnostic]:
    """Return what is wrong in the files, in order; nothing is raised and nothing is run.

    Args:
        paths: The files; what they include is checked with them.
        variables: For ``((name))``.
        limits: Of each file.
        compat: What WFE accepts in silence becomes a warning, see :mod:`wfe.yaml.compat`.
    """
    found: list[Diagnostic] = []
    for path in paths:
        problems = Problems()
        source = read_source(Path(path), problems, limits or Limits())
        if source is not None:
            main = Path(path)
            checked = check_source(
                source, _variables(variables), problems, limits or Limits(), main
            )
            _check_scripts(checked, main.parent, problems)
        found += problems.in_order()
    return _as_warnings(found) if compat else list(dict.fromkeys(found))


def check_text(
    text: str,
    name: str = _TEXT_NAME,
    variables: Mapping[str, Any] | Variables | None = None,
    *,
    limits: Limits | None = None,
    compat: bool = False,
) -> list[Diagnostic]:
    """Return what is wrong in a text; it includes files of the working directory.

    Args:
        text: The contents of a file.
        name: How messages call it.
        variables: For ``((name))``.
        limits: Of the file.
        compat: As for :func:`check`.
    """
    problems = Problems()
    checked = check_source(Source(name, text), _variables(variables), problems, limits or Limits())
    _check_scripts(checked, Path.cwd(), problems)
    found = list(problems.in_order())
    return _as_warnings(found) if compat else found


def _as_warnings(found: list[Diagnostic]) -> list[Diagnostic]:
    from wfe.yaml.compat import as_warnings  # noqa: PLC0415 - only when WFE's files are checked

    return as_warnings(found)


def _check_scripts(checked: Checked, workspace: Path, problems: Problems) -> None:
    """Type-check scripts of Deno steps, only of files that are right otherwise: it takes 1 s."""
    if problems.failed or not any(
        node.config.get("type") == "deno"
        for definition in checked.definitions
        for node in definition.walk()
    ):
        return
    from wfe.yaml.deno.checking import check_scripts  # noqa: PLC0415 - few files have scripts

    problems.found += check_scripts(checked.definitions, workspace)


def load_workflow(
    path_or_text: str | os.PathLike[str],
    variables: Mapping[str, Any] | Variables | None = None,
    workflow: str | None = None,
    *,
    limits: Limits | None = None,
) -> WorkflowDefinition:
    """Return one workflow of a file, ready to be registered on a host.

    Of several versions it is the highest.

    Args:
        path_or_text: A path, or the text itself (a ``str`` with a line break).
        variables: For ``((name))``.
        workflow: Its id; may be left out when only one workflow is called by no other.
        limits: Of the file.

    Raises:
        WorkflowFileError: The file is wrong; ``diagnostics`` has all that is.
        DefinitionError: No workflow has this id, or none was named and there are several.
    """
    checked = _load(path_or_text, variables, limits)
    ids = list(dict.fromkeys(definition.id for definition in checked.definitions))
    if workflow is not None:
        named = [each for each in checked.definitions if each.id == workflow]
        if named:
            return max(named, key=lambda each: each.version)
        near = nearest(workflow, ids)
        hint = f"did you mean {near}?" if near else f"workflows of the file: {', '.join(ids)}"
        raise DefinitionError(f"the file has no workflow {workflow!r}", None, hint)
    roots = [
        definition for definition in checked.definitions if definition.id not in checked.called
    ]
    if len({definition.id for definition in roots}) == 1:
        return max(roots, key=lambda each: each.version)
    if not ids:
        raise DefinitionError("the file has no workflow", None, "it is for others to include")
    raise DefinitionError("the file has several workflows", None, f"name one of {', '.join(ids)}")


def load_workflows(
    path_or_text: str | os.PathLike[str],
    variables: Mapping[str, Any] | Variables | None = None,
    *,
    limits: Limits | None = None,
) -> tuple[WorkflowDefinition, ...]:
    """Return all workflows of a file in its order, then those of the files that it includes.

    Raises:
        WorkflowFileError: The file is wrong; ``diagnostics`` has all that is.
    """
    return _load(path_or_text, variables, limits).definitions


def _variables(given: Mapping[str, Any] | Variables | None) -> Variables:
    return given if isinstance(given, Variables) else Variables(dict(given or {}))


def _load(
    path_or_text: str | os.PathLike[str],
    variables: Mapping[str, Any] | Variables | None,
    limits: Limits | None,
) -> Checked:
    problems = Problems()
    limits = limits or Limits()
    source: Source | None
    path: Path | None = None
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        source = Source(_TEXT_NAME, path_or_text)
    else:
        path = Path(path_or_text)
        source = read_source(path, problems, limits)
    checked = None
    if source is not None:
        checked = check_source(source, _variables(variables), problems, limits, path)
    if problems.failed or checked is None:
        raise WorkflowFileError(problems.in_order())
    workspace = Path.cwd() if path is None else path.resolve().parent
    with_code = [_with_code(definition, workspace) for definition in checked.definitions]
    return attrs.evolve(checked, definitions=tuple(with_code))


def _with_code(definition: WorkflowDefinition, workspace: Path) -> WorkflowDefinition:
    from wfe.yaml.step_body import step_bodies  # noqa: PLC0415 - only to run, not to check

    return attrs.evolve(definition, code=step_bodies(definition, workspace))

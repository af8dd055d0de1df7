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

__all__ = ["check", "load_workflow", "load_workflows"]

_TEXT_NAME = "<text>"


def check(
    paths: Iterable[str | os.PathLike[str]],
    variables: Mapping[str, Any] | Variables | None = None,
    *,
    limits: Limits | None = None,
) -> list[Diagnostic]:
    """Return what is wrong in the files, in order; nothing is raised and nothing is run."""
    found: list[Diagnostic] = []
    for path in paths:
        problems = Problems()
        source = read_source(Path(path), problems, limits or Limits())
        if source is not None:
            check_source(source, _variables(variables), problems, limits or Limits())
        found += problems.in_order()
    return found


def load_workflow(
    path_or_text: str | os.PathLike[str],
    variables: Mapping[str, Any] | Variables | None = None,
    workflow: str | None = None,
    *,
    limits: Limits | None = None,
) -> WorkflowDefinition:
    """Return one workflow of a file, ready to be registered on a host.

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
    ids = [definition.id for definition in checked.definitions]
    if workflow is not None:
        for definition in checked.definitions:
            if definition.id == workflow:
                return definition
        near = nearest(workflow, ids)
        hint = f"did you mean {near}?" if near else f"workflows of the file: {', '.join(ids)}"
        raise DefinitionError(f"the file has no workflow {workflow!r}", None, hint)
    roots = [
        definition for definition in checked.definitions if definition.id not in checked.called
    ]
    if len(roots) == 1:
        return roots[0]
    raise DefinitionError("the file has several workflows", None, f"name one of {', '.join(ids)}")


def load_workflows(
    path_or_text: str | os.PathLike[str],
    variables: Mapping[str, Any] | Variables | None = None,
    *,
    limits: Limits | None = None,
) -> tuple[WorkflowDefinition, ...]:
    """Return all workflows of a file, in its order; see :func:`load_workflow`.

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
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        source, workspace = Source(_TEXT_NAME, path_or_text), Path.cwd()
    else:
        path = Path(path_or_text)
        source, workspace = read_source(path, problems, limits), path.resolve().parent
    checked = check_source(source, _variables(variables), problems, limits) if source else None
    if problems.failed or checked is None:
        raise WorkflowFileError(problems.in_order())
    with_code = [_with_code(definition, workspace) for definition in checked.definitions]
    return attrs.evolve(checked, definitions=tuple(with_code))


def _with_code(definition: WorkflowDefinition, workspace: Path) -> WorkflowDefinition:
    from wfe.yaml.shell import Shell  # noqa: PLC0415 - asyncio's subprocesses, only to run

    code = {
        f"{node.name}/body": Shell(run="", workspace=workspace)
        for node in definition.walk()
        if node.config.get("type") == "shell"
    }
    return attrs.evolve(definition, code=code)

"""Loads what a user names on the command line: files of workflows, and modules."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import attrs

from wfe.core.definition import Kind, WorkflowDefinition
from wfe.core.lean import frozen
from wfe.core.plugins import installed, load
from wfe.host.cli.errors import CommandError

__all__ = [
    "Given",
    "Loaded",
    "chosen",
    "is_source",
    "load_source",
    "need_yaml",
    "pairs",
    "suffix_of",
]

_OURS: Final = ("json", "py")


@frozen(kw_only=True)
class Given:
    """The load-time variables of a command line.

    Attributes:
        assignments: Texts of ``-v``.
        files: Paths of ``--vars-file``.
        config: ``variables`` of the configuration: what has no other value is looked up there.
    """

    assignments: Sequence[str] = ()
    files: Sequence[str] = ()
    config: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    def variables(self) -> Any:
        """Return them as the YAML plugin wants them, with those of ``WFE_CONFIG``.

        Raises:
            WfeError: One is not well-formed, or a file cannot be read.
        """
        import os  # noqa: PLC0415 - with the plugin

        from wfe.yaml.variables import merge_variables, parse_assignments  # noqa: PLC0415

        return merge_variables(
            assignments=parse_assignments(self.assignments),
            files=self.files,
            environment=os.environ,
            config={name: _typed(value) for name, value in self.config.items()},
        )


def _typed(value: Any) -> Any:
    """Return a text of the configuration as the scalar that a workflow file would read."""
    from wfe.yaml.scalars import resolve  # noqa: PLC0415 - the plugin

    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        return {key: _typed(each) for key, each in fields.items()}
    if isinstance(value, list):
        return [_typed(each) for each in cast("Sequence[Any]", value)]
    return resolve(str(value))


@frozen(kw_only=True)
class Loaded:
    """The definitions of one source.

    Attributes:
        name: The source as the user wrote it.
        called: Ids that another definition of the source runs as sub-workflow.
    """

    name: str
    definitions: tuple[WorkflowDefinition, ...]

    @property
    def called(self) -> frozenset[str]:
        """Ids that a definition of the source runs as sub-workflow."""
        return frozenset(
            node.config["definition"]
            for definition in self.definitions
            for node in definition.walk()
            if node.kind is Kind.SUB_WORKFLOW and node.config["definition"] != definition.id
        )


def suffix_of(name: str) -> str:
    """Return the suffix that says what kind of file *name* is, without the dot."""
    return Path(name).suffix.removeprefix(".").lower()


def is_source(name: str) -> bool:
    """Whether *name* is a file or module rather than a run."""
    return (
        Path(name).exists() or ":" in name or suffix_of(name) in (*_OURS, *installed("wfe.loaders"))
    )


def load_source(name: str, given: Given | None = None) -> Loaded:
    """Load *name*: a workflow file, a saved definition, ``module.py`` or ``package.module:NAME``.

    Raises:
        CommandError: There is no such file, or it is of a kind that nothing loads.
        WfeError: What is in it is wrong; the error says what.
    """
    given = given or Given()
    if not Path(name).exists() and ":" in name:
        return Loaded(name=name, definitions=_of_module_path(name))
    suffix = suffix_of(name)
    _check_file(name, suffix)
    if suffix == "json":
        return Loaded(name=name, definitions=(WorkflowDefinition.load(name),))
    if suffix == "py":
        return Loaded(name=name, definitions=_collected(_import_file(Path(name)), name))
    loader = load("wfe.loaders", suffix)
    return Loaded(name=name, definitions=tuple(loader(name, _variables(suffix, given))))


def need_yaml() -> None:
    """Make sure that workflow files can be read here.

    Raises:
        PluginNotFoundError: The distribution that reads them is not installed.
    """
    if "yaml" not in installed("wfe.loaders"):
        load("wfe.loaders", "yaml")


def _check_file(name: str, suffix: str) -> None:
    path = Path(name)
    if path.is_dir():
        raise CommandError(f"{name!r} is a directory", "name a workflow file in it")
    if not path.exists():
        raise CommandError(f"there is no file {name!r}", _nearest_file(path))
    known = (*_OURS, *installed("wfe.loaders"))
    if suffix in known or suffix in {"yaml", "yml"}:
        return
    what = f"files that end in .{suffix}" if suffix else "files without a suffix"
    hint = f"it loads {', '.join(f'.{each}' for each in sorted(known))} and package.module:NAME"
    raise CommandError(f"{name!r}: no installed distribution loads {what}", hint)


def _nearest_file(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.iterdir() if each.is_file()]
    except OSError:
        return "check the path"
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {str(path.parent / near[0])!r}?" if near else "check the path"


def _variables(suffix: str, given: Given) -> Any:
    """Return the variables for a loader: of the YAML plugin's own kind for its files."""
    if suffix not in {"yaml", "yml"}:
        return pairs(given.assignments, "-v")
    return given.variables()


def pairs(assignments: Iterable[str], option: str) -> dict[str, str]:
    """Return ``key=value`` texts as a mapping.

    Raises:
        CommandError: One has no ``=`` or no key.
    """
    found: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            problem = f"{option} {assignment!r} has no value"
            raise CommandError(problem, f"write it as {option} name=value")
        found[key.strip()] = value
    return found


# -- Python


def _import_file(path: Path) -> ModuleType:
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CommandError(f"{str(path)!r} cannot be imported as a Python module")
    module = importlib.util.module_from_spec(spec)
    _search(path.parent)
    _search(Path.cwd())
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _import_problem(str(path), error) from error
    return module


def _of_module_path(name: str) -> tuple[WorkflowDefinition, ...]:
    module_name, _, attribute = name.partition(":")
    _search(Path.cwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise _import_problem(module_name, error) from error
    if not attribute:
        return _collected(module, name)
    try:
        value = getattr(module, attribute)
    except AttributeError:
        near = difflib.get_close_matches(attribute, list(vars(module)), n=1)
        hint = f"did you mean {module_name}:{near[0]}?" if near else None
        raise CommandError(f"module {module_name!r} has no {attribute!r}", hint) from None
    return _collected(value, name)


def _search(directory: Path) -> None:
    text = str(directory.resolve())
    if text not in sys.path:
        sys.path.insert(0, text)


def _import_problem(name: str, error: Exception) -> CommandError:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "importlib" not in frame.filename]
    where = f" (at {ours[-1].filename}:{ours[-1].lineno})" if len(ours) > 1 else ""
    return CommandError(f"{name!r} cannot be imported: {type(error).__name__}: {error}{where}")


def _collected(source: Any, name: str) -> tuple[WorkflowDefinition, ...]:
    from wfe.host.collect import definitions_in  # noqa: PLC0415 - durable functions, the engine

    try:
        return tuple(definitions_in(source))
    except TypeError as error:
        hint = "assign the result of .build() to a name at the top level of the module"
        raise CommandError(f"{name!r}: {error}", hint) from error


# -- choosing


def chosen(loaded: Loaded, wanted: str | None) -> WorkflowDefinition:
    """Return the definition to run: *wanted*, or the only one that no other runs.

    Raises:
        CommandError: There is none with this id, or several and none was named.
    """
    by_id: Mapping[str, WorkflowDefinition] = {each.id: each for each in loaded.definitions}
    if wanted is not None:
        if wanted in by_id:
            return by_id[wanted]
        near = difflib.get_close_matches(wanted, by_id, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its workflows: {', '.join(by_id)}"
        raise CommandError(f"{loaded.name!r} has no workflow {wanted!r}", hint)
    roots = [each for each in by_id.values() if each.id not in loaded.called]
    if len(roots) == 1:
        return roots[0]
    problem = f"{loaded.name!r} has several workflows: {', '.join(by_id)}"
    raise CommandError(problem, "choose one with --workflow ID")

"""Type-check the scripts of workflow files with ``deno check``."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from wfe.core.definition import Node, Value, WorkflowDefinition
from wfe.yaml.deno.binary import find_deno
from wfe.yaml.deno.modules import cache_root, import_hosts, module_home, registries
from wfe.yaml.deno.positions import Positions
from wfe.yaml.diagnostics import Diagnostic, Severity

__all__ = ["Finding", "Script", "check_scripts", "scripts_of", "type_check"]

CODE: Final = "WFE112"
_WAY: Final = 1  # how scripts are checked; another number forgets what is in the cache

_TYPES: Final = Path(__file__).with_name("wfe.d.ts")
_OPTIONS: Final = {
    "noImplicitAny": False,
    "noImplicitThis": False,
    "useUnknownInCatchVariables": False,
}
_PATIENCE: Final = 120  # seconds for all scripts
_HEAD: Final = re.compile(r"(?:error: )?TS(?P<code>\d+) \[\w+\]: (?P<message>.*)")
_SYNTAX: Final = re.compile(r"error: (?P<message>.*)")
_PLACE: Final = re.compile(r"    at (?P<url>file://\S+?):(?P<line>\d+):(?P<column>\d+)")
_LOCAL: Final = re.compile(r"""(?:from|import)\s*\(?\s*["'`]\.{1,2}/""")


@attrs.frozen(kw_only=True)
class Script:
    """A script to check.

    Attributes:
        text: Of the script.
        file: Path of its file; ``None`` when it stands in a workflow file.
        name: What messages call it, when it has no origin.
        origin: Where it stands in a workflow file: ``file``, ``line``, ``column``.
        modules: That it may import.
    """

    text: str
    file: Path | None = None
    name: str = "script"
    origin: Mapping[str, Any] | None = None
    modules: tuple[str, ...] = ()

    def key(self, program: str) -> str:
        """Return what its result depends on."""
        binary = os.stat(program)  # noqa: PTH116 - two numbers
        of = (_WAY, program, binary.st_size, binary.st_mtime_ns, _TYPES.read_text(), _OPTIONS)
        content = json.dumps([*of, self.text, self.modules, self.file and str(self.file)])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def alone(self) -> bool:
        """Whether its result depends on no other file of the workspace."""
        return _LOCAL.search(self.text) is None


@attrs.frozen
class Finding:
    """A type error, or one of *syntax*, at a place in the script."""

    line: int
    column: int
    width: int
    message: str
    syntax: bool = False


def scripts_of(definitions: Iterable[WorkflowDefinition], workspace: Path) -> list[Script]:
    """Return the scripts of all Deno steps; files that cannot be read are left out."""
    found: dict[Script, None] = {}
    for definition in definitions:
        for node in definition.walk():
            if node.config.get("type") == "deno" and (script := _script(node, workspace)):
                found[script] = None
    return list(found)


def _script(node: Node, workspace: Path) -> Script | None:
    given = {name: expr.value for name, expr in node.inputs if isinstance(expr, Value)}
    modules = tuple(given.get("modules") or ())
    if given.get("script"):
        origin = given.get("origin")
        frozen = None if origin is None else _Origin(origin)
        return Script(text=given["script"], origin=frozen, modules=modules)
    file = given.get("file")
    if not file or not file.endswith((".ts", ".mts")):
        return None
    path = workspace / file
    try:
        return Script(text=path.read_text(), file=path.absolute(), name=file, modules=modules)
    except (OSError, UnicodeDecodeError):
        return None


class _Origin(dict[str, Any]):
    """A place that can stand in a set."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))


def check_scripts(definitions: Iterable[WorkflowDefinition], workspace: Path) -> list[Diagnostic]:
    """Return the type errors of all Deno steps, at their places; without Deno there are none."""
    return [
        _diagnostic(script, finding)
        for script, findings in type_check(scripts_of(definitions, workspace)).items()
        for finding in findings
    ]


def _diagnostic(script: Script, finding: Finding) -> Diagnostic:
    at = Positions.of("", script.origin, name=script.name)
    line, column = at.place(finding.line, finding.column)
    rows = script.text.split("\n")
    row = rows[finding.line - 1] if finding.line <= len(rows) else ""
    return Diagnostic(
        file=at.name,
        line=line,
        column=column,
        code=CODE,
        severity=Severity.ERROR,
        message=finding.message,
        hint=None,
        source_line=" " * (at.column - 1) + row,
        width=finding.width,
    )


def type_check(scripts: Sequence[Script]) -> dict[Script, tuple[Finding, ...]]:
    """Return what is wrong with each script; one process for all that are not known yet.

    Scripts whose modules were not fetched yet are not looked at, and nothing is without Deno.
    """
    program = find_deno()
    if program is None or not scripts:
        return {}
    known: dict[Script, tuple[Finding, ...]] = {}
    groups: dict[tuple[str, ...], list[Script]] = {}
    for script in scripts:
        stored = _stored(script, program) if script.alone else None
        if stored is not None:
            known[script] = stored
        elif not script.modules or module_home(script.modules).is_dir():
            groups.setdefault(script.modules, []).append(script)
    for modules, group in groups.items():
        for script, findings in _checked(program, modules, group).items():
            known[script] = findings
            if script.alone:
                _store(script, program, findings)
    return {script: known[script] for script in scripts if script in known}


def _place_of(script: Script, program: str) -> Path:
    return cache_root() / "checked" / f"{script.key(program)}.json"


def _stored(script: Script, program: str) -> tuple[Finding, ...] | None:
    try:
        rows = json.loads(_place_of(script, program).read_bytes())
        return tuple(Finding(*row) for row in rows)
    except (OSError, ValueError, TypeError):
        return None


def _store(script: Script, program: str, findings: Sequence[Finding]) -> None:
    path = _place_of(script, program)
    rows = [attrs.astuple(finding) for finding in findings]
    # A cache that cannot be written costs time, and nothing else.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(rows))
        fresh.replace(path)


def _checked(
    program: str, modules: tuple[str, ...], scripts: Sequence[Script]
) -> dict[Script, tuple[Finding, ...]]:
    """Return the findings of *scripts*; those that are right as JavaScript are right."""
    found = _with_suffix(".ts", program, modules, scripts)
    # JavaScript allows what TypeScript complains of, such as a field that an object did not have.
    doubtful = [each for each, findings in found.items() if findings and each.file is None]
    as_plain = _with_suffix(".js", program, modules, doubtful) if doubtful else {}
    parsed = {
        script: findings
        for script, findings in as_plain.items()
        if not any(finding.syntax for finding in findings)
    }
    return {**found, **parsed}


def _with_suffix(
    suffix: str, program: str, modules: tuple[str, ...], scripts: Sequence[Script]
) -> dict[Script, tuple[Finding, ...]]:
    with tempfile.TemporaryDirectory(prefix="wfe-", ignore_cleanup_errors=True) as temporary:
        private = Path(temporary).resolve()
        config = private / "deno.json"
        options = {**_OPTIONS, "checkJs": suffix == ".js", "types": [_TYPES.as_uri()]}
        config.write_text(json.dumps({"compilerOptions": options}))
        left = {script: private / f"script-{at}{suffix}" for at, script in enumerate(scripts)}
        for script, path in left.items():
            _write(script, path)
        found: dict[Script, list[Finding]] = {script: [] for script in scripts}
        # A script that cannot be parsed ends the check of all: it is told, and left out.
        while left and (said := _say(program, config, modules, left.values())) is not None:
            by_url = {_url(script, path): script for script, path in left.items()}
            told = [(by_url[url], each) for url, each in _findings(said) if url in by_url]
            for script, finding in told:
                found[script].append(finding)
            unparsed = next((script for script, finding in told if finding.syntax), None)
            if unparsed is None:
                return {script: tuple(findings) for script, findings in found.items()}
            # Deno also reads what it is not asked for, if it stands beside its configuration.
            left.pop(unparsed).unlink()
        return {script: tuple(found[script]) for script in scripts if script not in left}


def _write(script: Script, path: Path) -> None:
    """Write a file that is or imports *script*, beside the configuration that holds for it."""
    text = script.text if script.file is None else f"import {json.dumps(_url(script, path))};\n"
    path.write_text(text, encoding="utf-8", errors="replace")


def _url(script: Script, path: Path) -> str:
    return path.as_uri() if script.file is None else script.file.resolve().as_uri()


def _say(program: str, config: Path, modules: tuple[str, ...], paths: Iterable[Path]) -> str | None:
    """Return what ``deno check`` writes; ``None`` when it cannot say anything."""
    hosts = import_hosts(modules)
    remote = [f"--allow-import={','.join(hosts)}"] if hosts else []
    closed = [] if modules else ["--no-remote", "--no-npm"]
    command = [
        *(program, "check", "--quiet", "--no-lock", "--cached-only", "--config", str(config)),
        *(*remote, *closed),
        *map(str, paths),
    ]
    home = module_home(modules) if modules else cache_root() / "check"
    try:
        done = subprocess.run(  # noqa: S603 - a list, without a shell
            command,
            env={**registries(), "DENO_DIR": str(home), "NO_COLOR": "1"},
            cwd=config.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stderr.decode(errors="replace")


def _findings(said: str) -> Iterator[tuple[str, Finding]]:
    """Yield URL and finding of what ``deno check`` wrote."""
    message, syntax, width = None, False, 1
    for row in said.splitlines():
        if head := _HEAD.match(row):
            message, syntax, width = head["message"], False, 1
        elif message is None and (head := _SYNTAX.match(row)):
            message, syntax, width = head["message"], True, 1
        elif set(row.strip("| ")) == {"~"}:
            width = row.count("~")
        elif message is not None and (place := _PLACE.match(row)):
            line, column = int(place["line"]), int(place["column"])
            yield place["url"], Finding(line, column, width, message.rstrip("."), syntax)
            message = None

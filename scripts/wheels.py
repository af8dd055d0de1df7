"""Build the distributions' wheels, check what is in them, try each alone."""

from __future__ import annotations

import argparse
import configparser
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import footprints
from workspace import ROOT, Distribution, distributions

__all__ = ["build", "closure", "isolate", "problems", "wheel_of"]

DIST = ROOT / "dist"

# Run inside the new environment: import every module below the named package.
_IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [each.name for each in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(f"{sys.argv[1]}: {len(names) + 1} modules imported")
"""


def build(dist: Path = DIST) -> None:
    """Build the source archive and the wheel of every distribution into *dist*, emptied first."""
    shutil.rmtree(dist, ignore_errors=True)
    for distribution in distributions():
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(dist)]
        _run(command, distribution.folder, quiet=True)
        print(f"built {wheel_of(distribution, dist).name}")


def wheel_of(distribution: Distribution, dist: Path = DIST) -> Path:
    """Return the path of a distribution's built wheel.

    Raises:
        FileNotFoundError: It was not built.
    """
    stem = distribution.name.replace("-", "_")
    wheel = dist / f"{stem}-{distribution.version}-py3-none-any.whl"
    if not wheel.exists():
        raise FileNotFoundError(f"{wheel} is missing: build the wheels first")
    return wheel


def problems(wheel: Path, distribution: Distribution) -> Iterator[str]:
    """Yield what is wrong with a wheel, one sentence each."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        texts = {
            name: archive.read(name).decode()
            for name in names
            if name.endswith(("METADATA", "entry_points.txt"))
        }
    part = distribution.part.replace(".", "/")
    if "wfe/__init__.py" in names:
        yield f"{wheel.name} holds wfe/__init__.py, which hides every other wfe.* distribution"
    if f"{part}/py.typed" not in names:
        yield f"{wheel.name} lacks {part}/py.typed"
    for path in _own_files(distribution):
        if path not in names and not path.endswith("py.typed"):
            yield f"{wheel.name} lacks {path}, which stands in its source"
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        yield f"{wheel.name} lacks the licence text"
    own = (f"{part}/", "wfe/__main__.py") if distribution.name == "wfe" else (f"{part}/",)
    for name in names:
        if ".dist-info/" not in name and not name.startswith(own):
            yield f"{wheel.name} holds {name}, which is not of {distribution.part}"
    metadata = next((text for name, text in texts.items() if name.endswith("METADATA")), "")
    if "\nClassifier: Typing :: Typed\n" not in metadata:
        yield f"{wheel.name} lacks the classifier Typing :: Typed"
    yield from _entry_point_problems(wheel, distribution, texts)


def _own_files(distribution: Distribution) -> Iterator[str]:
    """Yield the modules and the data of a distribution, as a wheel names them."""
    source = distribution.folder / "src"
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            yield path.relative_to(source).as_posix()


def _entry_point_problems(
    wheel: Path, distribution: Distribution, texts: dict[str, str]
) -> Iterator[str]:
    wanted: dict[str, dict[str, str]] = dict(distribution.project.get("entry-points", {}))
    if "scripts" in distribution.project:
        wanted["console_scripts"] = distribution.project["scripts"]
    found = configparser.ConfigParser(delimiters=("=",))
    for name, text in texts.items():
        if name.endswith("entry_points.txt"):
            found.read_string(text)
    for group, entries in wanted.items():
        for name, target in entries.items():
            if found.get(group, name, fallback=None) != target:
                yield f"{wheel.name} lacks the entry point {group}: {name} = {target}"


def closure(distribution: Distribution) -> tuple[Distribution, ...]:
    """Return *distribution* and every first-party distribution that it cannot be without."""
    known = {each.name: each for each in distributions()}
    names = [distribution.name]
    for name in names:  # grows while it is walked
        names.extend(each for each in known[name].siblings() if each not in names)
    return tuple(known[name] for name in names)


def isolate(distribution: Distribution, dist: Path = DIST) -> None:
    """Install one wheel into a new environment and import all its modules and entry points.

    Raises:
        SystemExit: Something does not load, or there is too much of it.
    """
    wheels = [str(wheel_of(each, dist)) for each in closure(distribution)]
    with tempfile.TemporaryDirectory() as scratch:
        venv = Path(scratch) / "venv"
        python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
        constraint = ["--constraint", str(ROOT / "constraints.txt")]
        _uv("venv", "--python", sys.executable, str(venv))
        _uv("pip", "install", "--python", str(python), *constraint, *wheels)
        command = [str(python), "-W", "error", "-c", _IMPORT_ALL, distribution.part]
        _run(command, Path(scratch))
        (packages,) = venv.rglob("site-packages")
        if found := list(footprints.installed_problems(packages, distribution.name)):
            raise SystemExit("\n".join(found))
        _load_entry_points(python, distribution, Path(scratch))


def _load_entry_points(python: Path, distribution: Distribution, cwd: Path) -> None:
    code = (
        "import sys; from importlib.metadata import distribution as d\n"
        "for point in d(sys.argv[1]).entry_points:\n"
        "    point.load(); print(f'{point.group}: {point.name} loads')"
    )
    _run([str(python), "-c", code, distribution.name], cwd)


def _uv(*arguments: str) -> None:
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    environment.pop("VIRTUAL_ENV", None)
    _run([sys.executable, "-m", "uv", "--quiet", *arguments], ROOT, env=environment)


def _run(
    command: list[str], cwd: Path, *, env: dict[str, str] | None = None, quiet: bool = False
) -> None:
    """Run *command*; end the script with its code, and its output, if it fails."""
    pipe = subprocess.PIPE if quiet else None
    done = subprocess.run(command, cwd=cwd, env=env, check=False, stdout=pipe, stderr=pipe)
    if done.returncode:
        for output in (done.stdout, done.stderr):
            sys.stderr.write((output or b"").decode(errors="replace"))
        print(f"failed in {cwd}: {shlex.join(command)}", file=sys.stderr)
        raise SystemExit(done.returncode)


def _build(_: list[str]) -> int:
    build()
    return 0


def _check(_: list[str]) -> int:
    found = [
        each
        for one in distributions()
        for check in (
            problems(wheel_of(one), one),
            footprints.wheel_problems(wheel_of(one), one.name),
        )
        for each in check
    ]
    print("\n".join(found) or f"{len(distributions())} wheels are as they should be")
    return bool(found)


def _isolate(names: list[str]) -> int:
    for distribution in distributions():
        if not names or distribution.name in names:
            isolate(distribution)
    return 0


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "build": _build,
    "check": _check,
    "isolate": _isolate,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("names", nargs="*", help="distributions to isolate; all without")
    options = parser.parse_args(arguments)
    return _COMMANDS[options.command](options.names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The one front door: ``nox -l`` lists what there is, ``nox`` runs the usual three."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
DEV = ("-r", "requirements/dev.txt")

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"
nox.options.sessions = ["tests", "lint", "types"]
os.environ["UV_PYTHON_DOWNLOADS"] = "never"
# pyenv's own `python3.12` on the path runs only where that version was chosen; the real ones do.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
_FOUND = sorted(map(str, _PYENV.glob("3.1[123].*/bin")))
os.environ["PATH"] = os.pathsep.join([*_FOUND, os.environ.get("PATH", os.defpath)])


@nox.session
def tests(session: nox.Session) -> None:
    """Unit, contract and repository tests, on the Python that runs nox."""
    session.install(*DEV)
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def matrix(session: nox.Session) -> None:
    """The same tests on every supported Python that is installed."""
    tests(session)


@nox.session
def coverage(session: nox.Session) -> None:
    """The tests once more, with branch coverage."""
    session.install(*DEV)
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def rules(session: nox.Session) -> None:
    """The tests of the pure rules, which must take every branch of them."""
    session.install(*DEV)
    session.run("python", "scripts/checks.py", "rules")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, import-linter, codespell, deptry."""
    session.install(*DEV)
    session.run("python", "scripts/checks.py", "lint")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy and pyright, both strict; every public name fully typed."""
    session.install(*DEV)
    session.run("python", "scripts/checks.py", "types")


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every distribution into dist/ and check what is in the wheels."""
    session.install(*DEV)
    session.run("python", "scripts/wheels.py", "build")
    session.run("python", "scripts/wheels.py", "check")


@nox.session(requires=["wheels"])
def isolated(session: nox.Session) -> None:
    """Install each wheel alone and import all of it; names may be given after ``--``."""
    session.install("attrs", "uv", "-c", "constraints.txt")
    session.run("python", "scripts/wheels.py", "isolate", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run the examples' tests."""
    session.install(*DEV)
    session.run("python", "-m", "pytest", "-q", "examples", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Tests against each version of each server: ``nox -s integration -- postgres-15 valkey-9``."""
    session.install(*DEV)
    session.run("python", "scripts/integration.py", *session.posargs)


@nox.session
def acceptance(session: nox.Session) -> None:
    """The host's tests over SQLite, PostgreSQL and PostgreSQL + Valkey; names choose some."""
    session.install(*DEV)
    session.run("python", "scripts/acceptance.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks and their gates; ``-- --peer all`` races against rivals instead."""
    session.install(*DEV)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def bench_matrix(session: nox.Session) -> None:
    """The benchmarks and their gates on every supported Python that is installed."""
    bench(session)


@nox.session
def scaling(session: nox.Session) -> None:
    """Several processes on one store, and a store of a million runs; ``-- --small`` in a minute."""
    session.install(*DEV)
    session.run("python", "-m", "benchmarks.scaling", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Simulate whole clusters: ``nox -s simulate -- --seeds 100000 --minutes 60``."""
    session.install(*DEV)
    session.run("python", "-m", "wfe.testing.simulator", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Break servers, links and hosts under work: ``nox -s faults -- --seconds 1800``."""
    session.install(*DEV)
    session.run("python", "-m", "faults", *session.posargs)


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """Fuzz what reads other people's bytes: ``nox -s fuzz -- --seconds 600 check``."""
    session.install(*DEV, "atheris>=3.0,<4")
    session.run("python", "-m", "fuzz", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Check links and snippets, and draft the changelog."""
    session.install(*DEV)
    session.run("python", "scripts/links.py")
    session.run("towncrier", "build", "--draft", "--version=next", silent=True)


@nox.session
def lock(session: nox.Session) -> None:
    """Write constraints.txt and requirements/; ``-- --upgrade`` takes the newest versions."""
    session.install("attrs", "uv", "-c", "constraints.txt")
    session.run("python", "scripts/lock.py", *session.posargs)


@nox.session
def bump(session: nox.Session) -> None:
    """Set every distribution's version: ``nox -s bump -- 0.2.0``."""
    session.install("attrs", "-c", "constraints.txt")
    session.run("python", "scripts/bump.py", *session.posargs)


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Leave .venv with every distribution editable, for editors."""
    python = ROOT / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        session.run(sys.executable, "-m", "venv", ".venv")
    session.run(str(python), "-m", "pip", "install", "-q", *DEV, external=True)

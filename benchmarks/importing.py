"""What starting costs: processes that only import, or only say something, and what they load."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.gates import IMPORT_GATES, IMPORT_TARGETS

__all__ = ["HEAVY", "broken", "heavy", "imports", "loaded", "targets"]

HEAVY: Final = frozenset(
    {
        *("sqlite3", "psycopg", "valkey", "opensearchpy", "cattrs", "ruamel", "rich", "click"),
        *("httpx", "multiprocessing", "importlib.metadata", "difflib", "unittest"),
        *("cel_expr_python", "asyncio", "ssl", "logging", "orjson", "decimal", "pathlib"),
    }
)
"""What no import of the names that declare workflows, and of the host's, loads."""
_CODE: Final = {
    "core": "from wfe.core import WorkflowBuilder, step",
    "host": (
        "from wfe.core import WorkflowBuilder, step, workflow; from wfe.host import WorkflowHost"
    ),
    "made": "from wfe.host import WorkflowHost; WorkflowHost()",
}
_COUNT: Final = """
import gc
print(len({
    each for each in gc.get_objects() if isinstance(each, type)
    and "__attrs_attrs__" in vars(each) and each.__module__.startswith("wfe.")
}))
"""
_HUNDRED_LINES: Final = "workflow:\n  id: hundred\n  version: 1\n  steps:\n" + "".join(
    f"    - {{name: s{k}, type: shell, run: echo {k}}}\n" for k in range(96)
)


def loaded(arguments: Sequence[str]) -> set[str]:
    """Return the modules that a Python process with *arguments* has loaded."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stderr.splitlines()
    return {
        line.rpartition("|")[2].strip()
        for line in told
        if line.startswith("import time:") and "imported package" not in line
    }


def classes(code: str) -> int:
    """Return how many classes attrs has made for us in a process that ran *code*."""
    told = f"{code}\n{_COUNT}"
    out = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    return int(out.stdout)


def imports(tries: int = 5) -> dict[str, float]:
    """Return milliseconds of whole processes (wall and CPU, the least of *tries*), and counts.

    ``modules_…`` are those that it loads beyond ``import asyncio``, which every host needs;
    ``classes_…`` are those that attrs makes.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "hundred.yaml"
        file.write_text(_HUNDRED_LINES, encoding="utf-8")
        figures: dict[str, float] = {}
        commands = _commands(file)
        for name, arguments in commands.items():
            wall, cpu = _least([sys.executable, *arguments], tries)
            figures[name] = wall
            figures[f"{name} cpu"] = cpu
        plain = loaded(["-c", "import asyncio"])
        found = {name: loaded(arguments) for name, arguments in commands.items()}
    for name in (*_CODE, "help", "validate"):
        figures[f"modules_{name}"] = float(len(found[name] - plain))
    for name in ("host", "made"):
        figures[f"classes_{name}"] = float(classes(_CODE[name]))
    figures["heavy"] = float(len(heavy(found["core"] | found["host"])))
    return figures


def _commands(file: Path) -> dict[str, list[str]]:
    return {
        "python": ["-c", "pass"],
        "asyncio": ["-c", "import asyncio"],
        "import wfe.core": ["-c", "import wfe.core"],
        **{name: ["-c", code] for name, code in _CODE.items()},
        "help": ["-m", "wfe", "--help"],
        "validate": ["-m", "wfe", "validate", str(file)],
    }


def heavy(modules: Collection[str]) -> set[str]:
    """Return what of :data:`HEAVY` is among *modules*."""
    return {each for each in HEAVY if any(m == each or m.startswith(f"{each}.") for m in modules)}


def _least(command: list[str], tries: int) -> tuple[float, float]:
    """Return the least wall time and the least CPU time of a command, ms.

    It writes bytecode, as an installer does, so only its first start compiles.
    """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(tries + 1):
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        _, status, used = os.wait4(process.pid, 0)  # its own: other children may end meanwhile
        walls.append((time.perf_counter() - began) * 1e3)
        cpus.append((used.ru_utime + used.ru_stime) * 1e3)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return min(walls), min(cpus)


def targets(figures: Mapping[str, float]) -> str:
    """Return which targets are met; they are for a quiet machine, and no gates."""
    shown = [
        f"{name} <= {limit:g} {'met' if figures[name] <= limit else 'MISSED'}"
        for name, limit in IMPORT_TARGETS.items()
    ]
    return f"  [target {', '.join(shown)}]"


def broken(figures: Mapping[str, float]) -> Iterator[str]:
    """Yield which gates the figures break."""
    for figure, limit in IMPORT_GATES.items():
        if not figures[figure] <= limit:
            yield f"IMPORT: {figure} is {figures[figure]:g}, more than {limit:g}"

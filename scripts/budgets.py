"""Measure sizes of modules and functions against the budgets of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import io
import math
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from workspace import ROOT, distributions

__all__ = ["Module", "library_problems", "measure", "module_problems", "python_files"]

MODULE_LINES = 600
FUNCTION_LINES = 60
FUNCTION_P90 = 25
IGNORES_PER_1000 = 2
_SKIPPED = {"__pycache__", "build", "dist", "node_modules"}
_IGNORE = re.compile(r"#\s*(?:type|pyright):\s*ignore\b")
_BARE_IGNORE = re.compile(r"#\s*(?:type|pyright):\s*ignore(?!\[)")


@attrs.frozen(kw_only=True)
class Module:
    """What was counted in one file; all sizes are in lines."""

    path: Path
    lines: int
    functions: tuple[tuple[str, int, int], ...]  # name, first line, length of the body
    ignores: int
    bare_ignores: tuple[int, ...]  # line numbers


def measure(path: Path) -> Module:
    """Count one file; a function's length leaves out its signature and docstring."""
    source = path.read_text(encoding="utf-8")
    comments = [
        token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    return Module(
        path=path,
        lines=len(source.splitlines()),
        functions=tuple(_functions(ast.parse(source, str(path)))),
        ignores=sum(bool(_IGNORE.search(each.string)) for each in comments),
        bare_ignores=tuple(each.start[0] for each in comments if _BARE_IGNORE.search(each.string)),
    )


def _functions(tree: ast.Module) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield node.name, node.lineno, length


def module_problems(module: Module) -> Iterator[str]:
    """Yield where one file breaks a hard limit."""
    if module.lines > MODULE_LINES:
        yield f"{module.path}: {module.lines} lines, at most {MODULE_LINES}: split it by its nouns"
    for name, line, length in module.functions:
        if length > FUNCTION_LINES:
            yield (
                f"{module.path}:{line}: {name}() has {length} lines without signature and"
                f" docstring, at most {FUNCTION_LINES}"
            )
    for line in module.bare_ignores:
        yield f"{module.path}:{line}: an ignore comment without a code in brackets"


def library_problems(modules: Iterable[Module]) -> Iterator[str]:
    """Yield what the modules break together: the 90th percentile, the share of ignores."""
    modules = tuple(modules)
    lengths = sorted(length for module in modules for _, _, length in module.functions if length)
    if lengths:
        p90 = lengths[math.ceil(0.9 * len(lengths)) - 1]
        if p90 > FUNCTION_P90:
            yield f"one function in ten has {p90} lines or more, at most {FUNCTION_P90} wanted"
    lines = sum(module.lines for module in modules)
    ignores = sum(module.ignores for module in modules)
    if ignores * 1000 > IGNORES_PER_1000 * lines:
        yield f"{ignores} ignore comments in {lines} lines, at most {IGNORES_PER_1000} in 1,000"


def python_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the repository's own Python files, hidden and generated folders left out."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if not any(part.startswith(".") or part in _SKIPPED for part in parts):
            yield path


def main() -> int:
    found = [each for path in python_files() for each in module_problems(measure(path))]
    library = [measure(path) for one in distributions() for path in one.src.rglob("*.py")]
    found += library_problems(library)
    print("\n".join(found) or f"{len(library)} library modules are within the budgets")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

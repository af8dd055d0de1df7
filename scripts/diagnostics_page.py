"""Write docs/reference/diagnostics.md from the codes and the pages that explain them."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from wfe.yaml.codes import MEANINGS, WARNINGS
from workspace import ROOT

__all__ = ["page"]

TARGET: Final = ROOT / "docs" / "reference" / "diagnostics.md"
EXPLAINED: Final = ROOT / "packages" / "wfe-yaml" / "src" / "wfe" / "yaml" / "explained"

_HEAD: Final = """\
<!-- Written by scripts/diagnostics_page.py from the codes and the pages of wfe.yaml. -->

# Diagnostics of workflow files

`wfe validate FILE`, `wfe run FILE` and `wfe.yaml.check` report everything that is wrong in a file
at once, each problem with its place, a code, and as far as it is known what to do:

```text
ci.yaml:7:7: error[WFE012]: a step has no key `timout`
    7 |       timout: 5m
      |       ^^^^^^
      = help: did you mean `timeout`?
```

`wfe explain WFE012` prints what is here about a code. `wfe validate --format json` and
`--format github` give the same to programs ([the command line](cli.md#wfe-validate)). What may
stand where is in [workflow files](workflow-files.md).

A code keeps its meaning for ever. {warnings} are warnings: the file runs all the same (WFE050 is an
error where a secret would get such a name). All others are errors: nothing of the file runs. After
a problem of the YAML itself (WFE001 to WFE010) the rest of the file may not be read, so that other
problems show up only after that one is cured.

The examples do what they say: the wrong one gives its code and nothing else, the right one gives
nothing, and one edit lies between them.
"""

# Title, and the codes that belong under it: from and to.
_GROUPS: Final = (
    ("The YAML itself", 1, 10),
    ("Keys, values and names", 11, 22),
    ("Expressions", 30, 39),
    ("Steps and workflows that belong together", 40, 49),
    ("What is probably not meant", 50, 59),
    ("Step types", 60, 69),
    ("Control steps", 70, 79),
    ("Includes, templates and triggers", 80, 89),
    ("What the whole workflow shows", 90, 99),
    ("Secrets", 100, 109),
    ("Deno", 110, 119),
    ("Caches and artifacts", 120, 129),
)


def _explained(code: str) -> str:
    return (EXPLAINED / f"{code}.md").read_text(encoding="utf-8")


def page() -> str:
    """Return the whole page."""
    *most, last = sorted(WARNINGS)
    parts = [_HEAD.format(warnings=f"{', '.join(most)} and {last}")]
    groups = [(title, _codes(first, final)) for title, first, final in _GROUPS]
    for title, codes in groups:
        anchor = title.lower().replace(",", "").replace(" ", "-")
        rows = [f"| [{code}](#{code.lower()}) | {MEANINGS[code]} |" for code in codes]
        head = [f"[{title}](#{anchor})", "", "| code | meaning |", "| --- | --- |"]
        parts.append("\n".join([*head, *rows, ""]))
    for title, codes in groups:
        parts.append(f"## {title}\n")
        parts += [_section(code) for code in codes]
    return "\n".join(parts)


def _codes(first: int, final: int) -> list[str]:
    return [code for code in sorted(MEANINGS) if first <= int(code.removeprefix("WFE")) <= final]


def _section(code: str) -> str:
    text = _explained(code).removeprefix(f"# {code}: {MEANINGS[code]}\n\n")
    text = text.replace("## Wrong\n", "Wrong:\n").replace("## Right\n", "Right:\n")
    return f"### {code}\n\n**{MEANINGS[code]}**\n\n{text}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    text = page()
    if not parser.parse_args(arguments).check:
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        print(f"{TARGET.relative_to(ROOT)} is out of date: python scripts/diagnostics_page.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

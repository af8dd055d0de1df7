"""What came of it, as JSON and as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faults.client import Ledger
from faults.members import Happened
from faults.plan import KINDS
from faults.reading import Seen

__all__ = ["figures", "markdown", "write"]

_SHOWN = 20
"""How many violations of a law are printed."""


def figures(
    about: Mapping[str, Any],
    seen: Seen,
    ledgers: list[Ledger],
    happened: Happened,
    wrong: Mapping[str, list[str]],
) -> dict[str, Any]:
    """Return all that is to be said."""
    kinds = Counter(row.kind for run in seen.runs for row in run.rows)
    bodies = Counter(
        (effect.key, effect.attempt) for effect in seen.effects if effect.what == "begin"
    )
    facts = [fact for ledger in ledgers for fact in ledger.facts]
    return {
        **about,
        "runs": dict(Counter(run.definition for run in seen.runs)),
        "runs_in_all": len(seen.runs),
        "statuses": dict(Counter(run.status for run in seen.runs)),
        "rows": sum(kinds.values()),
        "steps_completed": kinds["step_completed"],
        "steps_undone": kinds["step_compensated"],
        "bodies_begun": sum(bodies.values()),
        "bodies_begun_again": sum(times - 1 for times in bodies.values()),
        "interruptions": kinds["step_interrupted"],
        "events": len(seen.events),
        "wakes": sum(1 for run in seen.runs for row in run.rows if "id" in row.info),
        "acknowledged": dict(Counter(fact["what"] for fact in facts if fact["sure"])),
        "failed_calls": dict(
            Counter(fact["what"] for fact in facts if not fact["sure"] and "unknown" in fact)
        ),
        "unknown_outcomes": sum(1 for fact in facts if fact.get("unknown")),
        "workers": len(seen.workers),
        "workers_fenced": sum(1 for _, fenced in seen.workers.values() if fenced is not None),
        "faults": {kind: happened.faults[kind] for kind in KINDS if happened.faults[kind]},
        "faults_in_all": sum(happened.faults.values()),
        "not_possible_here": happened.missing,
        "samples_of_places": happened.samples,
        "most_places": happened.most_places,
        "settled_after": happened.settled,
        "violations": {name: found[:200] for name, found in wrong.items() if found},
        "violations_in_all": sum(map(len, wrong.values())),
        "laws": list(wrong),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return the figures as tables."""
    lines = [f"# Faults: {found['setup']}, seed {found['seed']}, {found['seconds']:g} s", ""]
    lines += ["| what | count |", "| --- | --- |"]
    plain = [(key.replace("_", " "), value) for key, value in found.items()]
    for key, value in plain:
        if isinstance(value, int | float | str) or value is None:
            lines.append(f"| {key} | {value} |")
        elif isinstance(value, dict) and key in {
            "runs",
            "statuses",
            "acknowledged",
            "failed calls",
        }:
            text = ", ".join(f"{name} {count}" for name, count in sorted(value.items()))
            lines.append(f"| {key} by kind | {text} |")
    lines += ["", "| fault | times | |", "| --- | --- | --- |"]
    for kind, times in found["faults"].items():
        lines.append(f"| {kind} | {times} | {KINDS[kind].what} |")
    for kind, why in found["not_possible_here"].items():
        lines.append(f"| {kind} | - | {why} |")
    lines += ["", "| law | violations |", "| --- | --- |"]
    for name in found["laws"]:
        lines.append(f"| {name} | {len(found['violations'].get(name, ()))} |")
    for name, wrong in found["violations"].items():
        lines += ["", f"## {name}", "", *(f"- {each}" for each in wrong[:_SHOWN])]
    return "\n".join(lines) + "\n"


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Keep the figures as two files in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"faults-{found['setup']}-{found['seed']}"
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown(found), encoding="utf-8")

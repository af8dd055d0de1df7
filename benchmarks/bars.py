"""The bars to clear: against the best rival of a row, and against the limit of the machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

__all__ = ["BARS", "SHARES", "Bar", "Share", "Verdict", "samples", "verdicts"]

_OURS: Final = "wfe, "
_DURABLE: Final = ("sqlite", "postgres")


@attrs.frozen(kw_only=True)
class Bar:
    """What a figure of ours may be by that of the best rival in the same row.

    Attributes:
        most: Ours by theirs at most; ``None``: see *least*.
        least: Ours by theirs at least, where more is better.
        stores: Of ours, that have to clear it.
        pick: What stands for the samples of a contestant.
    """

    workload: str
    figure: str
    most: float | None = None
    least: float | None = None
    stores: tuple[str, ...] = _DURABLE
    pick: Callable[[Sequence[float]], float] = statistics.median

    @property
    def wanted(self) -> str:
        """Return the bar as readers see it."""
        return f"≤ {self.most:.3g}" if self.most is not None else f"≥ {self.least:.3g}"

    def cleared(self, ratio: float) -> bool:
        """Return whether ours by theirs is good enough."""
        high = self.most is None or ratio <= self.most
        return high and (self.least is None or ratio >= self.least)


@attrs.frozen(kw_only=True)
class Share:
    """What share of the plain loop's speed the engine has to reach."""

    workload: str
    least: float


BARS: Final = (
    Bar(workload="SEQ", figure="ms_per_step", most=1 / 5),
    Bar(workload="MANY", figure="steps_per_s", least=10),
    Bar(workload="FANOUT", figure="steps_per_s", least=5),
    Bar(workload="LATENCY", figure="p50_ms", most=1 / 3),
    Bar(workload="LATENCY", figure="p99_ms", most=1 / 3),
    Bar(workload="EVENT", figure="p50_ms", most=1 / 5),
    Bar(workload="RECOVER", figure="recover_s", most=1 / 3),
    Bar(workload="IDLE", figure="all_cpu_s", most=1),
    Bar(workload="IMPORT", figure="import_ms", most=1, stores=("sqlite",), pick=min),
)
SHARES: Final = (Share(workload="SEQ", least=0.4), Share(workload="MANY", least=0.6))


@attrs.frozen(kw_only=True)
class Verdict:
    """How a contestant of ours stands against a bar.

    Attributes:
        rival: The best of the row; ``None`` where the bar is not about rivals.
        ratio: Ours by theirs (or by the limit, or by what was running).
        met: ``None``: there is nothing to compare with, as *why* says.
        same_store: Ours by the best rival's on the same kind of store, for readers; no bar.
    """

    workload: str
    figure: str
    contestant: str
    value: float | None = None
    rival: str | None = None
    rival_value: float | None = None
    ratio: float | None = None
    wanted: str
    met: bool | None = None
    why: str = ""
    same_store: float | None = None


def samples(
    runs: Sequence[Mapping[str, Any]], workload: str, figure: str
) -> dict[str, list[float]]:
    """Return all samples of a figure, by contestant."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run["workload"] == workload:
            many = run.get("figures", {}).get(figure, [])
            if many:
                found.setdefault(run["contestant"], []).extend(many)
    return found


def verdicts(runs: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Return how all bars stand; workloads that did not run are left out."""
    ran = {run["workload"] for run in runs}
    found: list[Verdict] = []
    for bar in BARS:
        if bar.workload in ran:
            found += _against_rivals(bar, runs)
    if "RECOVER" in ran:
        found += _twice(runs)
    for share in SHARES:
        if share.workload in ran:
            found += _shares(share, runs)
    return found


def _against_rivals(bar: Bar, runs: Sequence[Mapping[str, Any]]) -> Iterator[Verdict]:
    values = {
        name: bar.pick(many) for name, many in samples(runs, bar.workload, bar.figure).items()
    }
    rivals = {name: value for name, value in values.items() if not name.startswith(_OURS)}
    best = _best(bar, rivals, rivals)
    for store in bar.stores:
        name = f"{_OURS}{store}"
        plain = Verdict(
            workload=bar.workload,
            figure=bar.figure,
            contestant=name,
            wanted=bar.wanted,
            value=values.get(name),
            rival=best,
            rival_value=None if best is None else rivals[best],
        )
        if name not in values:
            yield attrs.evolve(plain, why="it has no figure in this run")
        elif best is None:
            yield attrs.evolve(plain, why="no rival has a figure in this run")
        else:
            ratio = _ratio(values[name], rivals[best])
            alike = _best(bar, [one for one in rivals if one.endswith(f", {store}")], rivals)
            yield attrs.evolve(
                plain,
                ratio=ratio,
                met=bar.cleared(ratio),
                same_store=None if alike is None else _ratio(values[name], rivals[alike]),
            )


def _best(bar: Bar, names: Iterable[str], rivals: Mapping[str, float]) -> str | None:
    return (max if bar.most is None else min)(names, key=rivals.__getitem__, default=None)


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else float("inf")


def _twice(runs: Sequence[Mapping[str, Any]]) -> Iterator[Verdict]:
    """Judge, turn by turn, that no more steps ran twice than were running, and none is lost."""
    for store in _DURABLE:
        name = f"{_OURS}{store}"
        plain = Verdict(
            workload="RECOVER", figure="twice", contestant=name, wanted="≤ running, none lost"
        )
        turns = [
            run["figures"]
            for run in runs
            if (run["workload"], run["contestant"]) == ("RECOVER", name)
            and "twice" in run.get("figures", {})
        ]
        if not turns:
            yield attrs.evolve(plain, why="it has no figure in this run")
            continue
        over = [t for t in turns if t["twice"][0] > t["running"][0] or t["lost"][0]]
        twice = max(t["twice"][0] for t in turns)
        running = max(t["running"][0] for t in turns)
        ratio = twice / running if running else float(twice > 0)
        yield attrs.evolve(plain, value=twice, ratio=ratio, met=not over)


def _shares(share: Share, runs: Sequence[Mapping[str, Any]]) -> Iterator[Verdict]:
    found = samples(runs, share.workload, "limit_share")
    for store in _DURABLE:
        name = f"{_OURS}{store}"
        plain = Verdict(
            workload=share.workload,
            figure="limit_share",
            contestant=name,
            wanted=f"≥ {share.least:.3g}",
        )
        if name in found:
            ratio = statistics.median(found[name])
            yield attrs.evolve(plain, value=ratio, ratio=ratio, met=ratio >= share.least)
        else:
            yield attrs.evolve(plain, why="it has no figure in this run")

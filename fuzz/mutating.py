"""Change seeds at random, without any tool: what a test can run everywhere in a minute."""

from __future__ import annotations

import random  # noqa: TID251 - its seed is given
from collections.abc import Iterator, Sequence

from fuzz.targets import Target

__all__ = ["mutants"]

_ODD = ("\0", "\ufeff", "\u2028", "\x85", "\r", "\t", "é", "💥", "\\", "'", '"', "9" * 40, " " * 40)


def mutants(target: Target, seed: int, longest: int = 4000) -> Iterator[bytes]:
    """Yield changed seeds of *target* without end; the same for the same *seed*."""
    chosen = random.Random(seed)
    seeds = [each for each in target.seeds() if len(each) <= longest]
    while True:
        text = chosen.choice(seeds).decode("utf-8", "replace")
        for _ in range(chosen.randint(1, 4)):
            text = _changed(text, target.words, seeds, chosen)
        yield text[:longest].encode("utf-8", "surrogatepass")


def _changed(text: str, words: Sequence[str], seeds: Sequence[bytes], chosen: random.Random) -> str:
    """Return *text* with one change: of a part, a line, or a word of another seed."""
    lines = text.split("\n")
    at, row = chosen.randint(0, len(text)), chosen.randrange(len(lines))
    match chosen.randrange(7):
        case 0:
            return text[:at] + chosen.choice([*words, *_ODD]) + text[at:]
        case 1:
            return text[:at] + text[at + chosen.randint(1, 20) :]
        case 2:
            end = min(len(text), at + chosen.randint(1, 20))
            return text[:at] + text[at:end] * chosen.randint(2, 5) + text[end:]
        case 3:
            del lines[row]
        case 4:
            lines.insert(chosen.randint(0, len(lines)), lines[row])
        case 5:
            lines[row] = " " * chosen.randint(0, 8) + lines[row].lstrip()
        case _:
            other = chosen.choice(seeds).decode("utf-8", "replace").split("\n")
            lines.insert(row, chosen.choice(other))
    return "\n".join(lines)

"""Takes secrets out of text and out of streams of bytes, in every form that tools write them in.

A pure, streaming masker: what comes out does not depend on how the input is cut into chunks, and
at most the length of the longest form is held back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from wfe.core.lean import define
from wfe.core.mask_forms import encoded, forms_of
from wfe.core.secret_names import MASK, SHORTEST

__all__ = ["MASK", "MaskStream", "Masker"]

_MASK: Final = MASK.encode()
_KEY: Final = SHORTEST  # bytes by which forms are looked up; none is shorter


_Forms: TypeAlias = "dict[bytes, list[tuple[bytes, str, bool]]]"
"""First bytes -> (form, name of the secret, whether it gives the secret away), longest first."""


class Masker:
    """Knows the forms of some secrets; immutable, and safe to share between threads.

    Source:
        Leftmost search with the union of overlapping finds, so that the rest of a longer secret
        never stands where a shorter one was replaced.
    """

    __slots__ = ("__weakref__", "_forms", "_longest", "_search", "_starts", "secrets")

    def __init__(self, secrets: Iterable[tuple[str, str]]) -> None:
        """Mask *secrets*, (name, value) each; the shortest ones are left out."""
        self.secrets: tuple[tuple[str, str], ...] = tuple(secrets)
        forms: dict[bytes, tuple[str, bool]] = {}
        for name, value in self.secrets:
            every, telling = forms_of(value)
            for form in every:
                known = forms.get(form)
                if known is None or (form in telling and not known[1]):
                    forms[form] = (name, form in telling)
        self._forms = _by_key(forms)
        self._longest = max(map(len, forms), default=0)
        self._search = re.compile(_pattern(self._forms), re.DOTALL) if forms else None
        self._starts = frozenset(key[:size] for key in self._forms for size in range(1, _KEY))

    def __bool__(self) -> bool:
        """Whether anything is masked."""
        return self._search is not None

    @property
    def longest(self) -> int:
        """Bytes of the longest form: so many are held back at most."""
        return self._longest

    def stream(self) -> MaskStream:
        """Return a masker of one stream of bytes."""
        return MaskStream(self)

    def mask_bytes(self, data: bytes) -> bytes:
        """Return *data* without secrets."""
        if self._search is None or self._search.search(data) is None:
            return data
        stream = MaskStream(self)
        return stream.feed(data) + stream.close()

    def mask(self, text: str) -> str:
        """Return *text* without secrets."""
        if self._search is None:
            return text
        raw = encoded(text)
        if self._search.search(raw) is None:
            return text
        return self.mask_bytes(raw).decode("utf-8", "surrogateescape")

    def mask_value(self, value: Any) -> Any:
        """Return plain JSON without secrets in its texts and keys."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self.mask_value(k): self.mask_value(v) for k, v in _items(value)}
        if isinstance(value, list | tuple):
            return [self.mask_value(item) for item in cast("list[Any]", value)]
        return value

    def found(self, text: str) -> str | None:
        """Return the name of a secret that *text* gives away, ``None`` when there is none."""
        raw = encoded(text)
        return next((name for _, _, name in self.matches(raw, final=True, telling=True)), None)

    def found_in(self, value: Any, path: str = "") -> tuple[str, str] | None:
        """Return where plain JSON gives a secret away, and its name; ``None`` when it does not."""
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            name = self.found(str(value))
            return None if name is None else (path, name)
        if isinstance(value, Mapping):
            for key, item in _items(value):
                shown = f"{path}.{key}" if path else str(key)
                name = self.found(str(key))
                where = (f"a key of {path or 'it'}", name) if name else self.found_in(item, shown)
                if where is not None:
                    return where
        elif isinstance(value, list | tuple):
            for position, item in enumerate(cast("list[Any]", value)):
                where = self.found_in(item, f"{path}[{position}]")
                if where is not None:
                    return where
        return None

    def matches(
        self, data: bytes, *, final: bool, telling: bool = False
    ) -> Iterator[tuple[int, int, str]]:
        """Yield (start, end, name) of the longest form at each place, also overlapping ones.

        Args:
            data: Where.
            final: Whether nothing follows *data*.  Else the last one may be (start, start, ""):
                what stands from there to the end may become a form.
            telling: Only forms that give a secret away.
        """
        if self._search is None:
            return
        position = 0
        while (hit := self._search.search(data, position)) is not None:
            at = hit.start()
            end, name = self._longest_at(data, at, final=final, telling=telling)
            if end >= at:
                yield at, end, name
                if end == at:
                    return
            position = at + 1
        for at in () if final else range(max(0, len(data) - _KEY + 1), len(data)):
            if data[at:] in self._starts:
                yield at, at, ""
                return

    def _longest_at(self, data: bytes, at: int, *, final: bool, telling: bool) -> tuple[int, str]:
        """Return end and name of the longest form at *at*; *at* itself: one may begin; -1: none."""
        left = len(data) - at
        for form, name, tells in self._forms[data[at : at + _KEY]]:
            if telling and not tells:
                continue
            if len(form) > left:
                if not final and form.startswith(data[at:]):
                    return at, ""
            elif data.startswith(form, at):
                return at + len(form), name
        return -1, ""


@define
class MaskStream:
    """Masks one stream of bytes, chunk by chunk.

    Attributes:
        masker: What it masks.
        rest: What may be the beginning of a secret, and is held back.
        covered: So many bytes of *rest* are part of a secret that was replaced already.
    """

    masker: Masker
    rest: bytes = b""
    covered: int = 0

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be said now of all that was fed."""
        return self._masked(self.rest + chunk if self.rest else chunk, last=False)

    def close(self) -> bytes:
        """Return what was held back."""
        return self._masked(self.rest, last=True)

    def _masked(self, data: bytes, *, last: bool) -> bytes:
        parts: list[bytes] = []
        done = self.covered  # up to here everything is written, or part of a written mask
        until = len(data)
        for start, end, _ in self.masker.matches(data, final=last):
            if end == start:
                until = start
                break
            if start >= done:
                parts += [data[done:start], _MASK]
            done = max(done, end)
        parts.append(data[done:until])
        self.rest, self.covered = data[until:], max(done - until, 0)
        return b"".join(parts)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    items: Iterable[tuple[Any, Any]] = value.items()
    return items


def _by_key(forms: Mapping[bytes, tuple[str, bool]]) -> _Forms:
    found: _Forms = {}
    for form in sorted(forms, key=len, reverse=True):
        name, telling = forms[form]
        found.setdefault(form[:_KEY], []).append((form, name, telling))
    return found


def _pattern(keys: Iterable[bytes]) -> bytes:
    """Return a regular expression of the keys, as a tree: what differs early is told early."""
    tree: dict[int, Any] = {}
    for key in keys:
        here = tree
        for byte in key:
            here = here.setdefault(byte, {})
    return _branches(tree)


def _branches(tree: Mapping[int, Any]) -> bytes:
    branches = [re.escape(bytes([byte])) + _branches(below) for byte, below in sorted(tree.items())]
    if len(branches) < 2:
        return b"".join(branches)
    return b"(?:" + b"|".join(branches) + b")"

"""The forms in which a secret shows up in output: as it is, and as common tools write it."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from wfe.core.secret_names import SHORTEST

__all__ = ["encoded", "forms_of", "parts_of"]

_TELLING: Final = 16  # characters from which a part of a secret is as telling as the whole
_WRAPS: Final = (57, 48, 45)  # bytes in a line of base64: 76, 64 and 60 characters
_LEAST_LINE: Final = 12  # bytes; a shorter last line of wrapped base64 says little
_ARMOUR: Final = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")  # says nothing of the key
_ESCAPE: Final = re.compile(r"%[0-9A-F]{2}")
_SPECIAL: Final = re.compile(r"([^A-Za-z0-9_@%+=:,./-])")
_URL_SAFE: Final = ("", "/", "!'()*~", ";,/?:@&=+$-_.!~*'()#")
"""What is left unquoted by strict quoters, by Python, by encodeURIComponent and encodeURI."""


def encoded(text: str) -> bytes:
    """Return the bytes of *text*, also of one that holds what is no text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def forms_of(secret: str) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return the forms of *secret*: all that are masked, and those that give it away.

    The second are refused in stored data, too; the others (a line of a key, a field of JSON) may
    be everyday words.  Both are empty for a secret that is too short.
    """
    if len(secret) < SHORTEST:
        return frozenset(), frozenset()
    telling = set(_forms(secret))
    rest: set[bytes] = set()
    for part in parts_of(secret):
        (telling if len(part) >= _TELLING else rest).update(_written(part))
    found = frozenset(form for form in telling if len(form) >= SHORTEST)
    return found | frozenset(form for form in rest if len(form) >= SHORTEST), found


def parts_of(secret: str) -> frozenset[str]:
    """Return the lines of a secret of several lines, and the values in one that is JSON."""
    lines = secret.splitlines()
    found = {line.strip() for line in lines} if len(lines) > 1 else set[str]()
    found = {line for line in found if not _ARMOUR.fullmatch(line)}
    if secret.lstrip()[:1] in {"{", "["}:
        with suppress(ValueError, RecursionError):
            found.update(_leaves(json.loads(secret)))
    found.update(_passwords(secret))
    return frozenset(part for part in found if len(part) >= SHORTEST and part != secret)


def _passwords(secret: str) -> Iterator[str]:
    """Yield the password of a secret that is a URL, as written and as meant."""
    if "://" not in secret or "@" not in secret:
        return
    try:
        password = urlsplit(secret.strip()).password or ""
    except ValueError:
        return
    yield password
    yield unquote(password)


def _leaves(value: Any) -> Iterator[str]:
    """Yield texts and numbers, and the lines of texts; ``true`` and ``null`` are no secrets."""
    stack: list[Any] = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            stack.extend(each.values())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        elif isinstance(each, list):
            stack.extend(each)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(each, str):
            yield each
            lines = (line.strip() for line in each.splitlines())
            yield from (line for line in lines if not _ARMOUR.fullmatch(line))
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield str(each)


def _forms(secret: str) -> Iterator[bytes]:
    bare = secret.rstrip("\r\n")
    for text in {secret, bare} if len(bare) >= SHORTEST else {secret}:
        yield from _written(text)
        yield from _armoured(encoded(text))


def _written(text: str) -> Iterator[bytes]:
    """Yield *text* itself and the ways in which tools quote it."""
    yield encoded(text)
    if text.isascii() and text.isalnum():
        return  # nothing in it is ever escaped
    yield from map(encoded, _escaped(text))
    yield from _quoted(encoded(text))


def _escaped(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield once.replace("/", "\\/")
        yield re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found[0][2:].upper(), once)
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]
    yield text.replace("\n", "\\n")
    yield text.replace("\n", "\r\n")
    yield text.replace("'", "'\\''")
    yield text.replace("'", "'\"'\"'")
    yield text.replace("'", "\\'")  # in $'...' of a shell's trace
    yield _SPECIAL.sub(r"\\\1", text)
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield repr(text)[1:-1]


def _quoted(raw: bytes) -> Iterator[bytes]:
    for safe in _URL_SAFE:
        text = quote(raw, safe=safe)
        for each in (text, text.replace("%20", "+")):
            yield each.encode()
            if "%" in each:
                yield _ESCAPE.sub(lambda found: found[0].lower(), each).encode()


def _armoured(raw: bytes) -> Iterator[bytes]:
    """Yield base64 at each of the three alignments, alone and in wrapped lines, and hexadecimal."""
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        whole = alphabet(raw)
        yield whole
        yield whole.rstrip(b"=")
        yield alphabet(raw + b"\n")  # echo "$TOKEN" | base64
        yield quote(whole, safe="").encode()
        for before in range(3):
            yield _core(alphabet(b"\0" * before + raw), before, len(raw))
    for width in _WRAPS:
        yield from _wrapped(raw, width)


def _core(coded: bytes, before: int, size: int) -> bytes:
    """Return the characters of base64 that do not depend on what stands around the secret."""
    first = -(-before * 8 // 6)
    last = (before + size) * 8 // 6
    return coded[first:last]


def _wrapped(raw: bytes, width: int) -> Iterable[bytes]:
    if len(raw) <= width:
        return
    for start in range(0, len(raw), width):
        piece = raw[start : start + width]
        if len(piece) >= _LEAST_LINE:
            coded = base64.b64encode(piece)
            yield coded
            yield _core(coded, 0, len(piece))

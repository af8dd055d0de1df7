"""One stored text: as it is, encoded, or in a blob.

A text that is not stored as it is has one of these forms, all of them JSON objects that no
stored value of a user's looks like (``wfe.core.codec`` keeps ``$`` for itself)::

    {"$": "text", "v": encoded}      the codec made it
    {"$": "blob", "v": reference}    it is in the blob provider
    {"$": "coded", "v": reference}   what the codec made of it is
    {"$": "plain", "v": text}        it looks like one of these forms itself
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson

from wfe.core.errors import DataTypeError, ProviderError, UnreadableTextError
from wfe.core.lean import frozen
from wfe.core.providers import BlobProvider, PayloadCodec

__all__ = ["Texts", "plain"]

_FORM: Final = re.compile(r'\{"\$":"(text|blob|coded|plain)","v":"')
_NO_CODEC: Final = (
    "this store's texts were made by a codec; give the host the same one: WorkflowHost(codec=...)"
)
_NO_BLOBS: Final = (
    "big values of this store are in a blob provider; give the host the same one:"
    " WorkflowHost(blobs=...)"
)


def _form(kind: str, value: str) -> str:
    return f'{{"$":"{kind}","v":{orjson.dumps(value).decode()}}}'


def plain(text: str) -> Any:
    """Return the value of a JSON text that must not be in one of the forms.

    Raises:
        UnreadableTextError: It is: the host has no codec or blob provider, and would need it.
    """
    found = orjson.loads(text)
    if isinstance(found, dict) and _FORM.match(text):
        problem = _NO_BLOBS if found["$"] in {"blob", "coded"} else _NO_CODEC
        raise UnreadableTextError("store", problem)
    return cast("Any", found)


@frozen
class Texts:
    """What becomes of one text."""

    codec: PayloadCodec | None
    blobs: BlobProvider | None
    limit: int

    async def put(self, owner: str, text: str) -> str:
        """Return what to store for *text*; it belongs to *owner*."""
        coded = self._encoded(text)
        if self.blobs is not None and len(coded) > self.limit // 4:
            data = coded.encode()
            if len(data) > self.limit:
                ref = await self.blobs.put(owner, data)
                return _form("blob" if self.codec is None else "coded", ref)
        return self._inline(text, coded)

    def here(self, what: str, text: str) -> str:
        """Return what to store for *text* where no blob can be made.

        Raises:
            DataTypeError: It is too big for that.
        """
        coded = self._encoded(text)
        if len(coded) > self.limit // 4 and (size := len(coded.encode())) > self.limit:
            problem = f"is {size:,} bytes long; at most {self.limit:,} can be stored here"
            raise DataTypeError(what, problem)
        return self._inline(text, coded)

    def line(self, text: str) -> str:
        """Return what to store for a line, which is short."""
        return self._inline(text, self._encoded(text))

    def _encoded(self, text: str) -> str:
        if self.codec is None:
            return text
        try:
            return self.codec.encode(text)
        except Exception as error:
            raise ProviderError("codec", f"encode failed: {error!r}") from error

    def _inline(self, text: str, coded: str) -> str:
        if self.codec is not None:
            return _form("text", coded)
        return _form("plain", text) if _FORM.match(text) else text

    async def get(self, text: str) -> str:
        """Return the text for which *text* is stored."""
        if not _FORM.match(text):
            return text
        return await self.read(orjson.loads(text))

    async def read(self, form: Mapping[str, Any]) -> str:
        """Return the text behind a form.

        Raises:
            UnreadableTextError: The codec or blob that it needs is not there, or does not fit.
        """
        kind, value = form["$"], form["v"]
        if kind == "plain":
            return str(value)
        if kind == "text":
            return self._decoded(value)
        if self.blobs is None:
            raise UnreadableTextError("store", _NO_BLOBS)
        text = await self._fetched(self.blobs, value)
        return text if kind == "blob" else self._decoded(text)

    async def _fetched(self, blobs: BlobProvider, ref: str) -> str:
        try:
            return (await blobs.get(ref)).decode()
        except ProviderError as error:
            if error.transient:
                raise
            raise UnreadableTextError(error.provider, error.problem) from error

    def _decoded(self, text: str) -> str:
        if self.codec is None:
            raise UnreadableTextError("store", _NO_CODEC)
        try:
            return self.codec.decode(text)
        except Exception as error:
            problem = f"decode failed, is it the codec that encoded this? {error!r}"
            raise UnreadableTextError("codec", problem) from error

"""The Markdown that a step leaves in the file behind ``$WFE_SUMMARY``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfe.yaml.private_files import PrivateFileError, read_private

if TYPE_CHECKING:
    from wfe.core.masking import Masker

__all__ = ["summary_lines"]

_LINE: Final = 16_000  # characters; the log cuts longer ones


def summary_lines(path: Path, limit: int, masks: Masker | None) -> tuple[list[str], str | None]:
    """Return the lines of a summary, and a warning when not all of it can be shown.

    A summary is for people, so what is wrong with it never fails a step.

    Args:
        path: The file.
        limit: Bytes of it that are read.
        masks: Takes out secrets, also those of several lines.
    """
    try:
        content, whole = read_private(path, limit)
    except PrivateFileError as error:
        return [], f"the summary in $WFE_SUMMARY is not shown: {error}"
    if masks is not None:
        content = masks.mask_bytes(content)
    text = content.decode("utf-8", "replace").replace("\0", "\ufffd")
    lines = [piece for line in text.splitlines() for piece in _pieces(line.rstrip())]
    if whole:
        return lines, None
    return lines, f"the summary in $WFE_SUMMARY is cut: it has more than {limit:,} bytes"


def _pieces(line: str) -> Iterator[str]:
    yield line[:_LINE]
    for start in range(_LINE, len(line), _LINE):
        yield line[start : start + _LINE]

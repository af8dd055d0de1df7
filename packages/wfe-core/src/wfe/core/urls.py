"""URLs of servers, of which no error shows a password."""

from __future__ import annotations

from urllib.parse import SplitResult, parse_qsl, urlsplit

from wfe.core.errors import ProviderError

__all__ = ["split_url"]


def split_url(provider: str, url: str) -> SplitResult:
    """Return the parts of *url*.

    A password with a ``/``, ``?``, ``#`` or ``[`` that is not escaped would end the host's part
    of the URL early: the rest of it would be taken for a path or an option, and shown as one.

    Args:
        provider: Who asks, for the error.
        url: With a host; that ``@`` stands in its path or in the name of an option is refused.

    Raises:
        ProviderError: It cannot be split, or the split would tear a password apart.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or _is_torn(parts):
        problem = (
            "the URL cannot be read (it is not shown, for there may be a password in it); escape"
            " special characters of user and password: %2F for /, %3F for ?, %23 for #, %5B for ["
        )
        # Without the cause, whose text quotes from the URL.
        raise ProviderError(provider, problem, transient=False) from None
    return parts


def _is_torn(parts: SplitResult) -> bool:
    if "@" in parts.path or "@" in parts.fragment:
        return True
    return any("@" in name for name, _ in parse_qsl(parts.query, keep_blank_values=True))

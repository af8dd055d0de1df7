"""An empty Valkey database for a test, without emptying anybody else's."""

from __future__ import annotations

from urllib.parse import urlsplit

from wfe.testing.services.records import Service, ServiceError
from wfe.testing.services.valkey import ask_valkey

__all__ = ["emptied"]

_MARK = "wfe:testing:may-be-flushed"


def emptied(service: Service, worker: int) -> str:
    """Empty a database and return its URL.

    A server of the tests' own is emptied as a whole, functions and all.  On any other, each worker
    has a database by number, and only one that was empty when tests first came is ever flushed.

    Args:
        service: The server.
        worker: The number of this worker of the test session, from 0.

    Raises:
        OSError: The server does not answer.
        ServiceError: The database holds what no test put there.
    """
    if service.process is not None:
        ask_valkey(service.url, ("FLUSHALL",), ("FUNCTION", "FLUSH"), ("SCRIPT", "FLUSH"))
        return service.url
    parts = urlsplit(service.url)
    number = int(parts.path.strip("/") or 0) + worker
    url = parts._replace(path=f"/{number}").geturl()
    size, mark = ask_valkey(url, ("DBSIZE",), ("EXISTS", _MARK))
    if size and not mark:
        raise ServiceError(
            f"database {number} of {service.source} holds {size} keys that no test put there; "
            "name one that is empty, such as with /9 at the URL's end"
        )
    ask_valkey(url, ("FLUSHDB",), ("SET", _MARK, "1"))
    return url

"""Objects that all steps of a host share, and the error of HTTP steps."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from wfe.core import HttpError
from wfe.core.engine.shared import Shared
from wfe.core.http import shown_headers, shown_url


@attrs.define
class Closed:
    """Notes in *ended* that it was closed."""

    name: str
    ended: list[str]

    def close(self) -> None:
        self.ended.append(self.name)


@attrs.define
class ClosedLater(Closed):
    async def aclose(self) -> None:
        self.ended.append(f"{self.name} (async)")


class Broken:
    def close(self) -> None:
        raise OSError("it is gone")


def test_an_object_is_made_once_whoever_asks() -> None:
    shared = Shared()
    made: list[int] = []
    together = threading.Barrier(8)

    def make() -> object:
        made.append(len(made))
        return object()

    def ask(_number: int) -> int:
        together.wait(10)
        return id(shared.get("key", make))

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(ask, range(8)))

    assert (len(found), made) == (1, [0])
    assert shared.get("other", lambda: 5) == 5


async def test_the_newest_is_closed_first_and_one_that_fails_keeps_none_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []
    shared = Shared()
    shared.get("a", lambda: Closed("a", ended))
    shared.get("b", Broken)
    shared.get("c", lambda: ClosedLater("c", ended))
    shared.get("d", lambda: 5)

    with caplog.at_level(logging.ERROR, "wfe.engine"):
        await shared.close()
        await shared.close()

    assert ended == ["c (async)", "a"]
    assert [record.getMessage() for record in caplog.records] == [
        "the shared object 'b' could not be closed"
    ]
    assert shared.get("a", lambda: "anew") == "anew"


def test_the_error_survives_pickle_and_copy() -> None:
    error = HttpError("GET", "http://h/", "answered 404", 404, transient=False)

    for each in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(each) == "GET http://h/ answered 404"
        assert (each.status, each.transient) == (404, False)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/x?a=1", "http://h/x?a=1"),
        ("http://me:pw@h:8/x", "http://***@h:8/x"),
        ("http://h/x?api_key=1&day=2&sig=3", "http://h/x?api_key=***&day=2&sig=***"),
        ("http://h/x?X-Amz-Signature=1#top", "http://h/x?X-Amz-Signature=***#top"),
        ("http://me:pw@[h/x?token=1", "[h/x"),
    ],
)
def test_a_shown_url_has_no_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("Authorization", True),
        ("Proxy-Authorization", True),
        ("Cookie", True),
        ("X-Api-Key", True),
        ("x-auth-token", True),
        ("Client-Secret", True),
        ("Accept", False),
        ("Content-Type", False),
        ("X-Request-Id", False),
        ("X-Monkey", False),
    ],
)
def test_shown_headers_have_no_secrets(name: str, secret: bool) -> None:
    assert shown_headers({name: "value"}) == {name: "***" if secret else "value"}

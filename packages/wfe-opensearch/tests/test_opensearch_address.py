"""URLs of an index, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfe.core.errors import ProviderError
from wfe.opensearch import OpenSearchIndex, open_url
from wfe.opensearch.address import parsed


def test_the_short_form() -> None:
    address = parsed("opensearch://search.example")

    assert address.hosts == (("search.example", 9200),)
    assert (address.user, address.tls, address.prefix, address.timeout) == (None, False, "wfe", 10)
    assert (address.shards, address.replicas) == (1, None)


def test_everything(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("", encoding="utf-8")

    address = parsed(
        "opensearchs://us%40er:p%3Aw%2F@one:9201,[::1]:9202,three/"
        f"?prefix=shop-eu-&timeout=2.5&shards=3&replicas=0&verify=false&ca={ca}"
    )

    assert address.hosts == (("one", 9201), ("::1", 9202), ("three", 9200))
    assert (address.user, address.password) == ("us@er", "p:w/")
    assert (address.tls, address.verify, address.ca) == (True, False, str(ca))
    assert (address.prefix, address.timeout) == ("shop-eu", 2.5)
    assert (address.shards, address.replicas) == (3, 0)


def test_the_password_is_not_shown() -> None:
    index = open_url("opensearch://me:topsecret@host/")

    assert "topsecret" not in f"{index!r} {index.address!r}"
    with pytest.raises(ProviderError) as caught:
        parsed("opensearch://me:topsecret@host/?what=1")
    assert "topsecret" not in str(caught.value)
    assert "me:***@host" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("opensearch://", "names no host"),
        ("opensearch:///", "names no host"),
        ("opensearch://host/index", "names no cluster"),
        ("https://host", "names no cluster"),
        ("opensearch://host:port/", "no port that is a number"),
        ("opensearch://host/?pool=3", "'pool' is unknown; there is prefix, timeout"),
        ("opensearch://host/?prefix=", "names of indices have small letters"),
        ("opensearch://host/?prefix=Wfe", "names of indices have small letters"),
        ("opensearch://host/?prefix=a*", "names of indices have small letters"),
        ("opensearch://host/?timeout=soon", "timeout=soon is no number that fits"),
        ("opensearch://host/?timeout=0", "timeout=0 is no number"),
        ("opensearch://host/?shards=1.5", "shards=1.5 is no number"),
        ("opensearch://host/?replicas=-1", "replicas=-1 is no number"),
        ("opensearch://host/?verify=false", "verify= is for TLS"),
        ("opensearchs://host/?verify=no", "verify=no is unknown"),
        ("opensearchs://host/?ca=/no/such/file", "there is no such file"),
    ],
)
def test_wrong_urls(url: str, problem: str) -> None:
    with pytest.raises(ProviderError, match=problem.replace("*", r"\*")) as caught:
        parsed(url)

    assert not caught.value.transient


def test_wrong_mappings() -> None:
    with pytest.raises(ValueError, match="'text' is unknown; there is keyword"):
        OpenSearchIndex("opensearch://host", mapping={"total": "text"})
    with pytest.raises(ValueError, match="one dot between"):
        OpenSearchIndex("opensearch://host", mapping={"a..b": "long"})


async def test_an_index_that_is_not_open_says_so() -> None:
    with pytest.raises(ProviderError, match=r"is not open; await index.open\(\) first"):
        await open_url("opensearch://host").search_cursors()

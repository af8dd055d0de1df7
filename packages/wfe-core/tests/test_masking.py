"""The masker: no secret survives in any form, whatever the chunks; all other text does."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.mask_forms import encoded, forms_of, parts_of
from wfe.core.masking import MASK, Masker

# A mask that is put in must not complete a secret: none here has a star.
SECRET = st.text(st.characters(exclude_characters="*", codec="utf-8"), min_size=4)
NARROW = st.text("ab\n/", min_size=4, max_size=8)
SECRETS = st.lists(SECRET | NARROW, min_size=1, max_size=4, unique=True)
KEY = "-----BEGIN KEY-----\n" + "".join(f"{line:064x}\n" for line in range(9)) + "-----END-----\n"


def masker(*secrets: str) -> Masker:
    return Masker((f"s{n}", secret) for n, secret in enumerate(secrets))


def chunked(mask: Masker, data: bytes, sizes: list[int]) -> tuple[bytes, int]:
    """Return what a stream gives for *data* cut into chunks, and the most that was held back."""
    stream, out, position, held = mask.stream(), b"", 0, 0
    for size in sizes:
        out += stream.feed(data[position : position + size])
        position += size
        held = max(held, len(stream.rest))
    out += stream.feed(data[position:])
    return out + stream.close(), held


FORMS: dict[str, Callable[[str], str]] = {
    "raw": lambda s: s,
    "base64": lambda s: base64.b64encode(encoded(s)).decode(),
    "base64-unpadded": lambda s: base64.b64encode(encoded(s)).decode().rstrip("="),
    "base64-urlsafe": lambda s: base64.urlsafe_b64encode(encoded(s)).decode(),
    "quote": lambda s: quote(s, safe=""),
    "quote-path": quote,
    "quote-plus": quote_plus,
    "quote-lower": lambda s: re.sub("%..", lambda hit: hit[0].lower(), quote(s, safe="")),
    "json": lambda s: json.dumps(s)[1:-1],
    "json-utf8": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json-twice": lambda s: json.dumps(json.dumps(s))[3:-3],
    "hex": lambda s: encoded(s).hex(),
    "html": html.escape,
    "shell": lambda s: shlex.quote(s).strip("'"),
    "crlf": lambda s: s.replace("\n", "\r\n"),
}


@given(SECRETS, st.binary(max_size=40), st.data())
def test_no_form_survives_any_chunking(
    secrets: list[str], noise: bytes, data: st.DataObject
) -> None:
    mask = masker(*secrets)
    forms = sorted({form for secret in secrets for form in forms_of(secret)[0]})
    text = noise.replace(b"*", b"")
    for _ in range(data.draw(st.integers(1, 5))):
        text += data.draw(st.sampled_from(forms)) + data.draw(st.binary(max_size=5)).replace(
            b"*", b""
        )
    sizes = data.draw(st.lists(st.integers(0, 9), max_size=30))

    out, held = chunked(mask, text, sizes)

    assert out == mask.mask_bytes(text)
    assert [form for form in forms if form in out] == []
    assert held < mask.longest


@given(SECRETS, st.text(), st.lists(st.integers(0, 7), max_size=20))
def test_what_is_no_secret_stays(secrets: list[str], text: str, sizes: list[int]) -> None:
    mask = masker(*secrets)
    raw = encoded(text)
    forms = {form for secret in secrets for form in forms_of(secret)[0]}
    if any(form in raw for form in forms):
        assert MASK in mask.mask(text)
        return

    assert mask.mask(text) == text
    assert chunked(mask, raw, sizes)[0] == raw


@given(SECRET, st.binary(max_size=5), st.binary(max_size=5))
def test_base64_at_every_alignment(secret: str, before: bytes, after: bytes) -> None:
    raw = encoded(secret)
    coded = base64.b64encode(before + raw + after).decode()

    out = masker(secret).mask(coded)

    # At most the characters that hold bits of the neighbours are left of the secret's.
    assert MASK in out
    first, last = len(before) * 8 // 6, -(-(len(before) + len(raw)) * 8 // 6)
    left = len(out.replace(MASK, ""))
    assert left <= len(coded) - (last - first) + 2


@pytest.mark.parametrize("secret", ["p/ss w\"rd'é<&>", "line one\nline two", "a+b/c=d?"])
@pytest.mark.parametrize("form", FORMS)
def test_each_form(form: str, secret: str) -> None:
    written = FORMS[form](secret)

    assert masker(secret).mask(f"[{written}]") == f"[{MASK}]"


def test_the_longest_goes_first_and_overlaps_leave_no_rest() -> None:
    mask = masker("abcd", "abcdefgh", "ghij")

    assert mask.mask("x abcdefg y") == "x ***efg y"
    assert mask.mask("x abcdefgh y") == "x *** y"
    assert mask.mask("x abcdefghij y") == "x *** y"
    assert mask.mask("abcdabcd") == "******"


def test_each_line_and_each_wrapped_base64_line_of_a_key() -> None:
    mask = masker(KEY)

    indented = "".join(f"  {line}\n" for line in KEY.splitlines())
    lines = "  ***\n" * 10  # the last line is no armour that anybody writes
    shown = f"  -----BEGIN KEY-----\n{lines}"
    assert mask.mask(indented) == shown
    assert mask.mask("-----BEGIN KEY-----") == "-----BEGIN KEY-----"
    coded = base64.encodebytes(KEY.encode()).decode()
    assert set(mask.mask(coded).split()) == {MASK}


def test_parts_of_structured_secrets() -> None:
    given_secret = json.dumps({"user": "deploy-bot", "key": "ab\ncdefg", "n": 12345, "on": True})

    assert parts_of(given_secret) == {"deploy-bot", "ab\ncdefg", "cdefg", "12345"}
    assert parts_of("postgres://me:p%40ss-word@db/x") == {"p%40ss-word", "p@ss-word"}
    assert parts_of("{not json") == frozenset()
    assert parts_of("[" * 100_000) == frozenset()
    mask = masker(given_secret)
    assert mask.mask("as deploy-bot with 12345: true") == "as *** with ***: true"


def test_short_parts_are_masked_and_do_not_make_data_a_secret() -> None:
    mask = masker(json.dumps({"user": "deploy-bot", "key": "0123456789abcdef"}))

    assert mask.found("deploy-bot") is None
    assert mask.found("deploy-bot 0123456789abcdef") == "s0"


def test_short_secrets_are_not_masked() -> None:
    mask = masker("abc", "")

    assert (bool(mask), mask.mask("abc"), mask.stream().feed(b"abc")) == (False, "abc", b"abc")


def test_a_line_is_not_held_back_for_nothing() -> None:
    stream = masker("hunter2!").stream()

    assert stream.feed(b"a line\nhunt") == b"a line\n"
    assert stream.feed(b"ing\n") == b"hunting\n"
    assert stream.feed(b"hunter2!\n") == b"***\n"


def test_where_plain_json_holds_a_secret() -> None:
    mask = masker("hunter2!")

    assert mask.found_in({"a": ["x", {"b": "is hunter2!"}]}, "data") == ("data.a[1].b", "s0")
    assert mask.found_in({"hunter2!": 1}, "data") == ("a key of data", "s0")
    assert mask.found_in({"a": [1, None, True]}, "data") is None
    assert masker("12345").found_in([12345]) == ("[0]", "s0")
    assert mask.mask_value({"k hunter2!": ["hunter2!", 3]}) == {"k ***": ["***", 3]}


def test_what_is_no_text() -> None:
    mask = masker("sécret", "\udc80\udc81\udc82\udc83", "\ud800abcd")

    assert (
        mask.mask("x \udc80\udc81\udc82\udc83 \ud800abcd")
        != "x \udc80\udc81\udc82\udc83 \ud800abcd"
    )
    assert mask.mask_bytes(b"\xff\x80\x81\x82\x83") == b"\xff***"

"""Where the laws are tried: a URL for each store, none of which is anybody's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from wfe.core.errors import ProviderError
from wfe.testing.services.opensearch_client import forget_prefix
from wfe.testing.services.valkey import ask_valkey

__all__ = ["NUMBER", "places"]

NUMBER: Final = "{n}"
"""Stands in a URL for the number of a store that no law has used."""

_POSTGRES: Final = frozenset({"postgres", "postgresql"})
_VALKEY: Final = frozenset({"valkey", "valkeys", "redis", "rediss"})
_OPENSEARCH: Final = frozenset({"opensearch", "opensearchs"})
_NOT_OF_LIBPQ: Final = frozenset({"schema", "prefix", "pool", "prepare", "notify", "create"})


@contextmanager
def places(url: str, token: str) -> Generator[str]:
    """Yield *url* with ``{n}`` in it where that can be inserted; remove afterwards what was made.

    Args:
        url: What has ``{n}`` stays as it is, and what is made there stays, too.
        token: Part of the names of what is made, so that nobody else has such names.

    Raises:
        ProviderError: The URL of a file names none.
    """
    scheme = urlsplit(url).scheme
    clean: Callable[[], object] | None = None
    if NUMBER not in url:
        mark = f"contract-{token}-"
        if scheme in {"sqlite", "file"}:
            url, clean = _files(url, mark)
        elif scheme in _POSTGRES:
            url, clean = _schemas(url, f"wfe_contract_{token}_")
        elif scheme in _VALKEY:
            url, clean = _keys(url, mark)
        elif scheme in _OPENSEARCH:
            url, clean = _search_indices(url, mark)
    try:
        yield url
    except BaseException as error:
        try:
            if clean is not None:
                clean()
        except (OSError, ProviderError) as left:  # what went wrong first is to be told
            error.add_note(str(left))
        raise
    if clean is not None:
        clean()


def _with(url: str, key: str, change: Callable[[str], str]) -> str:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    options[key] = change(options.get(key, ""))
    return urlunsplit(parts._replace(query=urlencode(options, safe="{}:")))


def _files(url: str, mark: str) -> tuple[str, Callable[[], object]]:
    """Files beside the named one, directories in the named one: its file system is tried."""
    parts = urlsplit(url)
    database = parts.scheme == "sqlite"
    path = Path(unquote(parts.path).removeprefix("/" if database else ""))
    if not path.name or path.name == ":memory:":
        problem = f"{url!r} names no file; write {parts.scheme}:///directory/name"
        raise ProviderError("contract", problem, transient=False)
    directory = path.parent if database else path
    name = f"{mark}{NUMBER}{path.suffix if database else ''}"
    place = f"{'/' if database else ''}{directory.as_posix()}/{name}"

    def clean() -> None:
        for made in directory.glob(f"{mark}*"):
            if made.is_dir():
                shutil.rmtree(made)
            else:
                made.unlink(missing_ok=True)

    return f"{parts.scheme}://{place}{'?' if parts.query else ''}{parts.query}", clean


def _schemas(url: str, prefix: str) -> tuple[str, Callable[[], object]]:
    def clean() -> None:
        import psycopg  # noqa: PLC0415 - who tests such a store has it
        from psycopg import sql  # noqa: PLC0415 - as above

        parts = urlsplit(url)
        rest = [(key, value) for key, value in parse_qsl(parts.query) if key not in _NOT_OF_LIBPQ]
        libpq = urlunsplit(parts._replace(query=urlencode(rest)))
        try:
            with psycopg.connect(libpq, autocommit=True) as connection:
                found = connection.execute(
                    "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [prefix]
                ).fetchall()
                for (schema,) in found:
                    drop = sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema))
                    connection.execute(drop)
        except psycopg.Error as error:
            problem = f"the schemas {prefix}… are left behind, drop them: {error}"
            raise ProviderError("contract", problem, transient=True) from error

    return _with(url, "schema", lambda _: f"{prefix}{NUMBER}"), clean


def _search_indices(url: str, mark: str) -> tuple[str, Callable[[], object]]:
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query)).get("prefix", "wfe").rstrip("-")
    prefix = f"{given}-{mark}"

    def clean() -> None:
        try:
            forget_prefix(urlunsplit(parts._replace(query="")), prefix)
        except OSError as error:
            problem = f"the indices and templates {prefix}… are left behind, delete them: {error}"
            raise ProviderError("contract", problem, transient=True) from error

    return _with(url, "prefix", lambda _: f"{prefix}{NUMBER}"), clean


def _keys(url: str, mark: str) -> tuple[str, Callable[[], object]]:
    def clean() -> None:
        parts = urlsplit(url)
        if parts.scheme in {"valkeys", "rediss"}:
            return  # all of them expire by themselves but some events of the laws, under our mark
        plain = urlunsplit(parts._replace(query=""))
        cursor = ""
        while cursor != "0":
            scan = ("SCAN", cursor or "0", "MATCH", f"*{mark}*", "COUNT", "1000")
            (answer,) = ask_valkey(plain, scan)
            cursor, keys = cast("tuple[str, list[str]]", answer)
            if keys:
                ask_valkey(plain, ("DEL", *keys))

    return _with(url, "prefix", lambda given: f"{given or 'wfe:'}{mark}{NUMBER}:"), clean

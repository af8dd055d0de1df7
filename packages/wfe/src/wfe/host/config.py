"""The host's configuration file, ``wfe.config.yaml``, and the ``WFE_*`` variables over it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import attrs

from wfe.core.errors import WfeError
from wfe.core.lean import define, frozen

__all__ = ["CONFIG_FILE", "SETTINGS", "URLS", "ConfigError", "HostConfig", "read_config"]

CONFIG_FILE: Final = "wfe.config.yaml"
"""Looked for in the working directory when no file is named."""

URLS: Final[tuple[str, ...]] = ("db", "queue", "lock", "search", "lifecycle", "artifacts", "blobs")
"""Keys of the file that are URLs of providers; ``WFE_DB`` … win over them."""

_UNITS: Final = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN: Final = re.compile(r"(\d{1,9})(ms|[smhdw])")
_REFERENCE: Final = re.compile(r"\$\{\{\s*secrets\.([A-Za-z0-9_.-]+)\s*\}\}")
_PASSWORD: Final = re.compile(r"[?&](?:ssl)?password=[^&]")  # as libpq takes it


@define(eq=False)
class ConfigError(WfeError):
    """The configuration is wrong: what, where, and what to do.

    Attributes:
        problem: One sentence without a full stop.
        where: The file with line and column, or the environment variable.
        hint: ``None`` when the problem says it.
    """

    problem: str
    where: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" + (f"\n  {self.hint}" if self.hint else "")


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError("a time such as 500ms, 30s, 10m, 12h, 30d or 4w")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _span_or_never(text: str) -> timedelta | None:
    try:
        return None if text == "never" else _span(text)
    except ValueError as error:
        raise ValueError(f"{error}, or `never`") from None


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text) or not int(text):
        raise ValueError("a whole number from 1 on")
    return int(text)


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("true or false")
    return text == "true"


def _text(text: str) -> str:
    if not text:
        raise ValueError("some text")
    return text


def _texts(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


SETTINGS: Final[Mapping[str, Any]] = {
    "name": _text,
    "lease": _span,
    "linger": _span,
    "max_live": _count,
    "max_steps": _count,
    "max_interruptions": _count,
    "max_inline": _count,
    "max_data": _count,
    "max_history": _count,
    "threads": _count,
    "processes": _count,
    "strict_versions": _flag,
    "retention": _span_or_never,
    "event_retention": _span_or_never,
    "labels": _texts,
}
"""Keys of ``host`` in the file, each an option of :class:`~wfe.host.WorkflowHost`, and how its
text is read; ``WFE_LEASE`` … win over them."""


@frozen(kw_only=True)
class HostConfig:
    """What file and environment say, the environment over the file.

    Attributes:
        urls: By key of :data:`URLS`; secrets in them are references still.
        settings: Options of the host, by name.
        secrets: URLs of the providers of secrets, in the order in which they are asked; empty: the
            host's default.
        variables: Load-time variables of workflow files: texts, lists and maps of texts.
        source: The file; ``None``: there is none.
    """

    urls: Mapping[str, str] = attrs.field(factory=dict[str, str])
    settings: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    secrets: tuple[str, ...] = ()
    variables: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    source: Path | None = None

    async def options(self, secrets: Any = None) -> dict[str, Any]:
        """Return the keyword arguments of a :class:`~wfe.host.WorkflowHost`, secrets filled in.

        Args:
            secrets: Whom to ask instead of those that the file names, as the host's option.

        Raises:
            ConfigError: No provider knows a secret that a URL names.
            PluginNotFoundError: Nothing handles the URL of a secrets provider.
        """
        given: Any = secrets or list(self.secrets) or None
        if given is not None:
            from wfe.core.secrets import open_secrets  # noqa: PLC0415 - only with secrets

            given = open_secrets(given)
        found: dict[str, Any] = dict(self.settings)
        for key, url in self.urls.items():
            name = "persistence" if key == "db" else key
            found[name] = await _filled(url, key, given, self.source)
        if given is not None:
            found["secrets"] = given
        return found


async def _filled(url: str, key: str, secrets: Any, source: Path | None) -> str:
    """Return *url* with its references to secrets replaced by their values, quoted for a URL."""
    names = _REFERENCE.findall(url)
    if not names:
        return url
    from wfe.core.secret_names import variable_of  # noqa: PLC0415 - only with secrets
    from wfe.core.secrets import open_secrets  # noqa: PLC0415 - likewise

    provider = open_secrets(secrets)
    values: dict[str, str] = {}
    for name in names:
        value = await provider.get(name)
        if value is None:
            hint = f"set {variable_of(name)}, or say under `secrets:` where it is kept"
            raise ConfigError(f"{key}: there is no secret {name!r}", str(source or "WFE_*"), hint)
        values[name] = value
    return _REFERENCE.sub(lambda found: quote(values[found[1]], safe=""), url)


def read_config(
    path: str | Path | None = None, environment: Mapping[str, str] | None = None
) -> HostConfig:
    """Read the configuration: ``WFE_*`` variables over the file.

    Args:
        path: The file; ``None``: ``WFE_CONFIG_FILE``, or ``wfe.config.yaml`` in the working
            directory if it is there.
        environment: ``None``: the process's.

    Raises:
        ConfigError: The file cannot be read, or something in it or in a variable is wrong.
    """
    env = os.environ if environment is None else environment
    named = path if path is not None else env.get("WFE_CONFIG_FILE") or None
    found = HostConfig()
    if named is not None or Path(CONFIG_FILE).is_file():
        found = _from_file(Path(named or CONFIG_FILE))
    return attrs.evolve(
        found,
        urls={**found.urls, **_urls_of(env)},
        settings={**found.settings, **_settings_of(env)},
    )


def _urls_of(env: Mapping[str, str]) -> dict[str, str]:
    given = {key: env.get(f"WFE_{key.upper()}", "") for key in URLS}
    return {key: _url(text, f"WFE_{key.upper()}") for key, text in given.items() if text}


def _settings_of(env: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, read in SETTINGS.items():
        name = f"WFE_{key.upper()}"
        if not env.get(name):
            continue
        try:
            found[key] = read(env[name])
        except ValueError as error:
            raise ConfigError(f"{env[name]!r} is not {error}", name) from None
    return found


def _url(text: str, where: str) -> str:
    if not re.match(r"[a-z][a-z0-9+.-]*:", text):
        hint = "write for example postgresql://host/database or sqlite:///runs.db"
        raise ConfigError(f"{text!r} is no URL", where, hint)
    return text


# -- the file


def _from_file(path: Path) -> HostConfig:
    from wfe.host.config_file import load_file  # noqa: PLC0415 - strictyaml: 0.15 s, rarely needed

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "check the path of --config, or of WFE_CONFIG_FILE"
        problem = f"the configuration cannot be read: {error.strerror}"
        raise ConfigError(problem, str(path), hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError("the configuration is not UTF-8 text", str(path)) from error
    found = load_file(text, str(path), SETTINGS, URLS)
    urls = {key: str(found[key]) for key in URLS if key in found}
    for key, url in urls.items():
        _refuse_password(_url(url, f"{path}: {key}"), key, path)
    secrets = cast("Iterable[str]", found.get("secrets", ()))
    return HostConfig(
        urls=urls,
        settings=cast("Mapping[str, Any]", found.get("host", {})),
        # `env:` alone would be a map in YAML: the colon may be left out.
        secrets=tuple(each if ":" in each else f"{each}:" for each in secrets),
        variables=cast("Mapping[str, Any]", found.get("variables", {})),
        source=path,
    )


def _refuse_password(url: str, key: str, path: Path) -> None:
    """Refuse a password that stands in the file: files are shared, and kept for ever."""
    plain = _REFERENCE.sub("", url)
    try:
        password = urlsplit(plain).password
    except ValueError:
        password = None
    if password or _PASSWORD.search(plain):
        from wfe.core.secret_names import variable_of  # noqa: PLC0415 - only for this error

        name = f"{key}-password"
        hint = f"write ${{{{ secrets.{name} }}}} in its place, and set {variable_of(name)}"
        raise ConfigError(f"{key}: a password stands in the file", str(path), hint)

"""``services``: what runs beside a workflow, such as a database; started by plugins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from wfe.core.definition import WorkflowDefinition
from wfe.yaml.context import Context
from wfe.yaml.tree import Entry, ListNode, MapNode, Node, Scalar

__all__ = ["GROUP", "missing_providers", "needed", "read_services", "read_shared_volume"]

GROUP: Final = "wfe.services"
"""Entry-point group of the plugins that start services."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# In a container a variable may have more than a shell could name: `discovery.type`.
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,199}")
_SERVICE: Final = ("image", "ports", "env", "readiness", "command", "args", "memory", "cpu")
_PROBES: Final = ("exec", "tcp", "http")
_READINESS: Final = (*_PROBES, "interval", "timeout", "retries")
_SIZE: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[kMGT]i?|[KMGT]i?B)?")
_CPU: Final = re.compile(r"[0-9]+m|[0-9]+(?:\.[0-9]+)?")
_PORT: Final = 65535


def needed(definitions: Iterable[WorkflowDefinition]) -> dict[str, list[str]]:
    """Return the services that the definitions ask for, with the workflows that do."""
    found: dict[str, list[str]] = {}
    for definition in definitions:
        for name in definition.meta.get("services", {}):
            found.setdefault(name, []).append(definition.id)
    return found


def missing_providers(definitions: Iterable[WorkflowDefinition]) -> str | None:
    """Return why the services of the definitions cannot be started, ``None`` when they can."""
    from wfe.core.plugins import installed  # noqa: PLC0415 - only with services, to run

    services = needed(definitions)
    if not services or installed(GROUP):
        return None
    listed = ", ".join(f"{name!r} (workflow {ids[0]})" for name, ids in services.items())
    noun = "the service" if len(services) == 1 else "the services"
    return f"{noun} {listed} cannot be started: no plugin of the group {GROUP!r} is installed"


def read_services(node: Node | None, context: Context) -> dict[str, Any]:
    """Return the services of a workflow as plain data."""
    mapping = context.reader.mapping(node, "`services`") if node is not None else None
    found: dict[str, Any] = {}
    for name, entry in (mapping.entries if mapping else {}).items():
        allowed = "lower-case letters, digits and `-`: it is the host name of the service"
        context.reader.named(entry.key, "a service", _NAME, allowed)
        inner = context.reader.mapping(entry.value, f"the service `{name}`")
        if inner is not None:
            found[name] = _Service(context).read(name, inner)
    return found


class _Service:
    """Reads one service."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.reader = context.reader

    def read(self, name: str, node: MapNode) -> dict[str, Any]:
        keys = dict(self.reader.keys(node, f"the service `{name}`", _SERVICE))
        if "image" not in keys:
            hint = "write the container image, for example `image: postgres:17`"
            self.reader.missing(node, f"the service `{name}`", "image", hint)
        found: dict[str, Any] = {}
        for key, entry in keys.items():
            value = self._value(key, entry)
            if value is not None:
                found[key] = value
        return found

    def _value(self, key: str, entry: Entry) -> Any:
        match key:
            case "ports":
                return self._ports(entry.value)
            case "env":
                return self._env(entry.value)
            case "readiness":
                return self._readiness(entry.value)
            case "command" | "args":
                return self._texts(entry.value, f"`{key}`")
            case "memory":
                return self._form(entry.value, "`memory`", _SIZE, "a size such as 512Mi or 2Gi")
            case "cpu":
                return self._form(entry.value, "`cpu`", _CPU, "a number, or thousandths: 500m")
            case _:
                return self._text(entry.value, f"`{key}`")

    def _text(self, node: Node, what: str) -> str | None:
        text = self.reader.source_text(node, what)
        if text == "":
            self.context.problems.error("WFE013", node.span, f"{what} is empty")
            return None
        return text

    def _texts(self, node: Node, what: str) -> list[str] | None:
        hint = "write a list of texts: `[--flag, value]`"
        listed = self.reader.sequence(node, what, hint)
        found = [self.reader.source_text(i, f"an item of {what}") for i in _items(listed)]
        return [text for text in found if text is not None]

    def _form(self, node: Node, what: str, form: re.Pattern[str], allowed: str) -> str | None:
        text = self.reader.source_text(node, what)
        if text is None or form.fullmatch(text):
            return text
        message = f"{what} cannot be `{text[:40]}`"
        self.context.problems.error("WFE015", node.span, message, f"write {allowed}")
        return None

    def _ports(self, node: Node) -> list[int]:
        listed = self.reader.sequence(node, "`ports`", "write a list of numbers: `[5432]`")
        found = [self._port(item, "a port") for item in _items(listed)]
        return [port for port in found if port is not None]

    def _port(self, node: Node, what: str) -> int | None:
        port = self.reader.integer(node, what, 1)
        if port is None or port <= _PORT:
            return port
        self.context.problems.error("WFE015", node.span, f"{what} is at most {_PORT}, not {port}")
        return None

    def _env(self, node: Node) -> dict[str, str]:
        mapping = self.reader.mapping(node, "`env`")
        found: dict[str, str] = {}
        for name, entry in (mapping.entries if mapping else {}).items():
            if not _ENV.fullmatch(name):
                message = f"an environment variable cannot be called `{name[:60]}`"
                hint = "use letters, digits, `_`, `.` and `-`"
                self.context.problems.error("WFE020", entry.key.span, message, hint)
            text = self.reader.source_text(entry.value, f"`{name}`")
            if text is not None:
                found[name] = text
        return found

    def _readiness(self, node: Node) -> dict[str, Any] | None:
        mapping = self.reader.mapping(node, "`readiness`")
        if mapping is None:
            return None
        keys = dict(self.reader.keys(mapping, "`readiness`", _READINESS))
        probes = [key for key in _PROBES if key in keys]
        if len(probes) > 1:
            names = " and ".join(f"`{name}`" for name in probes)
            at = keys[probes[1]].key.span
            message = f"`readiness` asks in several ways: {names}"
            self.context.problems.error("WFE015", at, message, "keep one of them")
        found: dict[str, Any] = {"interval": 5_000_000, "timeout": 60_000_000, "retries": 12}
        for key, entry in keys.items():
            value = self._probe(key, entry.value)
            if value is not None:
                found[key] = value
        return found

    def _probe(self, key: str, node: Node) -> Any:
        match key:
            case "exec":
                return self._texts(node, "`exec`")
            case "tcp":
                return self._port(node, "`tcp`")
            case "http":
                return self._http(node)
            case "retries":
                return self.reader.integer(node, "`retries`", 1)
            case _:
                return self.reader.duration(node, f"`{key}`")

    def _http(self, node: Node) -> dict[str, Any] | None:
        mapping = self.reader.mapping(node, "`http`", "write `http: {port: 8080, path: /}`")
        if mapping is None:
            return None
        keys = dict(self.reader.keys(mapping, "`http`", ("port", "path")))
        if "port" not in keys:
            self.reader.missing(mapping, "`http`", "port", "write `http: {port: 8080}`")
            return None
        path = self.reader.source_text(keys["path"].value, "`path`") if "path" in keys else "/"
        return {"port": self._port(keys["port"].value, "`port`"), "path": path or "/"}


def _items(node: ListNode | None) -> list[Node]:
    return [] if node is None else node.items


def read_shared_volume(node: Node | None, context: Context) -> dict[str, str] | None:
    """Return the volume that the steps of a workflow share: ``{mount_path?, size?}``."""
    mapping = context.reader.mapping(node, "`shared_volume`") if node is not None else None
    if mapping is None:
        return None
    keys = dict(context.reader.keys(mapping, "`shared_volume`", ("mount_path", "size")))
    found: dict[str, str] = {}
    if "mount_path" in keys:
        at = keys["mount_path"].value
        path = context.reader.source_text(at, "`mount_path`")
        if path is not None and not path.startswith("/"):
            message = f"`mount_path` is an absolute path, not `{path[:60]}`"
            context.problems.error("WFE015", at.span, message, "begin it with `/`")
        found["mount_path"] = path or "/workspace"
    if "size" in keys:
        at = keys["size"].value
        size = context.reader.source_text(at, "`size`")
        if isinstance(at, Scalar) and size is not None and not _SIZE.fullmatch(size):
            message = f"`size` cannot be `{size[:40]}`"
            context.problems.error("WFE015", at.span, message, "write a size such as 15Gi")
        found["size"] = size or ""
    return {"mount_path": "/workspace", **found}

"""What is told of a plugin that is not there depends on what is."""

from __future__ import annotations

import pytest

from wfe.core import plugins
from wfe.core.errors import PluginNotFoundError


def test_what_is_installed_but_something_else_is_not_to_be_installed() -> None:
    with pytest.raises(PluginNotFoundError) as caught:
        plugins.load("wfe.persistence", "valkey")

    assert caught.value.install is None


def test_what_is_not_installed_is_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> dict[str, object]:
        return {}

    monkeypatch.setattr(plugins, "_group", nothing)

    with pytest.raises(PluginNotFoundError, match=r'pip install "wfe\[valkey\]"'):
        plugins.load("wfe.queue", "valkey")

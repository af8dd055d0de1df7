"""The compose project has the services that the fixtures look for, in the versions they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from wfe.testing.services.containers import COMPOSE_URLS, image_of

__all__: list[str] = []

ROOT = Path(__file__).parent.parent
_YAML: Any = YAML(typ="safe")
SERVICES: dict[str, Any] = _YAML.load(ROOT / "docker-compose.yml")["services"]


@pytest.mark.parametrize("name", COMPOSE_URLS)
def test_the_compose_project_is_where_the_fixtures_look(name: str) -> None:
    url = urlsplit(COMPOSE_URLS[name])
    (published,) = SERVICES[name]["ports"]

    assert published.startswith(f"{url.hostname}:{url.port}:")


@pytest.mark.parametrize("name", COMPOSE_URLS)
def test_a_container_is_of_the_compose_project_s_image(name: str) -> None:
    assert SERVICES[name]["image"] == image_of(name)


@pytest.mark.parametrize("name", COMPOSE_URLS)
def test_a_service_tells_when_it_is_ready_and_keeps_nothing(name: str) -> None:
    assert {"healthcheck", "tmpfs"} <= set(SERVICES[name])
    assert "volumes" not in SERVICES[name]


def test_there_are_no_other_services() -> None:
    assert set(SERVICES) == set(COMPOSE_URLS)

"""The configuration file, the variables over it, and the host that is made of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.host import WorkflowHost
from wfe.host.config import CONFIG_FILE, SETTINGS, URLS, ConfigError, HostConfig, read_config

FULL = """\
# A comment
db: postgresql://wfe:${{ secrets.db-password }}@db.example:5432/wfe
queue: valkey://cache.example
lock: "valkey://cache.example"
secrets:
  - env
  - file:secrets.env
host:
  name: build-1
  lease: 45s
  retention: never
  event_retention: 2w
  max_steps: 4
  strict_versions: true
  labels:
    - linux
    - gpu
variables:
  registry: example.org
  tries: 3
  nested:
    deep: a
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / CONFIG_FILE
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_part_is_read(write: Callable[[str], Path]) -> None:
    path = write(FULL)

    assert read_config(path, {}) == HostConfig(
        urls={
            "db": "postgresql://wfe:${{ secrets.db-password }}@db.example:5432/wfe",
            "queue": "valkey://cache.example",
            "lock": "valkey://cache.example",
        },
        settings={
            "name": "build-1",
            "lease": timedelta(seconds=45),
            "retention": None,
            "event_retention": timedelta(weeks=2),
            "max_steps": 4,
            "strict_versions": True,
            "labels": ["linux", "gpu"],
        },
        secrets=("env:", "file:secrets.env"),
        variables={"registry": "example.org", "tries": "3", "nested": {"deep": "a"}},
        source=path,
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n  \n"])
def test_an_empty_file_says_nothing(write: Callable[[str], Path], text: str) -> None:
    assert read_config(write(text), {}).urls == {}


def test_the_environment_wins_over_the_file(write: Callable[[str], Path]) -> None:
    environment = {"WFE_DB": "sqlite:///other.db", "WFE_LEASE": "5s", "WFE_LABELS": "a, b"}

    found = read_config(write(FULL), environment)

    assert found.urls["db"] == "sqlite:///other.db"
    assert found.urls["queue"] == "valkey://cache.example"
    assert found.settings["lease"] == timedelta(seconds=5)
    assert found.settings["labels"] == ["a", "b"]
    assert found.settings["max_steps"] == 4


def test_the_file_is_looked_for(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = tmp_path / "elsewhere.yaml"
    named.write_text("db: sqlite:///named.db\n")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert read_config(None, {}) == HostConfig()
    assert read_config(None, {"WFE_CONFIG_FILE": str(named)}).urls == {"db": "sqlite:///named.db"}

    write("db: sqlite:///here.db\n")
    monkeypatch.chdir(tmp_path)
    assert read_config(None, {}).urls == {"db": "sqlite:///here.db"}
    assert read_config(named, {}).urls == {"db": "sqlite:///named.db"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dbb: x\n", ":1: there is no setting 'dbb'\n  did you mean 'db'?"),
        ("host:\n  leese: 3s\n", ":2: there is no setting 'leese'\n  did you mean 'lease'?"),
        (
            "host:\n  lease: 3x\n",
            ":2: found '3x', expecting a time such as 500ms, 30s, 10m, 12h, 30d or 4w",
        ),
        ("host:\n  max_steps: 0\n", ":2: found '0', expecting a whole number from 1 on"),
        (
            "host:\n  retention: always\n",
            (":2: found 'always', expecting a time such as 500ms, 30s, 10m, 12h, 30d or 4w,"
            " or `never`"),
        ),
        ("host:\n  strict_versions: yes\n", ":2: found 'yes', expecting true or false"),
        (
            "host:\n  labels: [a]\n",
            (":2: this form of YAML is not allowed here\n"
            "  write one `- item` or `key: value` a line, without [ ] and { }"),
        ),
        ("db: x\n", (": db: 'x' is no URL\n  write for example postgresql://host/database or"
         " sqlite:///runs.db")),
        (
            "db: postgresql://a:geheim@c/d\n",
            (": db: a password stands in the file\n  write ${{ secrets.db-password }} in its place,"
            " and set WFE_SECRET_DB_PASSWORD"),
        ),
        ("- a\n", ":1: found a sequence, expecting a mapping"),
        ("db: a\ndb: b\n", ":2: Duplicate key 'db' found, while parsing"),
        (
            "db: sqlite:///a?prefix=b:\n",
            (":1: mapping values are not allowed here\n"
            "  put a value in quotes that ends in, or holds, a colon"),
        ),
        (
            "db: postgresql://a@c/d?sslmode=require&password=geheim\n",
            (": db: a password stands in the file\n  write ${{ secrets.db-password }} in its place,"
            " and set WFE_SECRET_DB_PASSWORD"),
        ),
        ("db: \x00\n", ":1: the character '\\x00' cannot stand here"),
        ("db: !!python/object:os.system x\n", (":1: this form of YAML is not allowed here\n"
         "  leave out the tag: every value is a plain text")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(write: Callable[[str], Path], text: str, problem: str) -> None:
    path = write(text)

    with pytest.raises(ConfigError) as told:
        read_config(path, {})

    assert str(told.value).lower() == f"{path}{problem}".lower()
    assert "geheim" not in str(told.value)


@pytest.mark.parametrize("page", ["reference/configuration.md", "how-to/many-hosts.md"])
def test_the_files_in_the_documents_are_read(write: Callable[[str], Path], page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    files = re.findall(r"(?ms)^```text\n(db: .*?)^```$", text)

    for file in files:
        assert read_config(write(file), {}).urls["db"].startswith("postgresql://wfe:${{")
    assert len(files) == 1


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_config(tmp_path / "none.yaml", {})
    (tmp_path / "bytes.yaml").write_bytes(b"db: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(tmp_path / "bytes.yaml", {})


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("WFE_DB", "runs.db", "WFE_DB: 'runs.db' is no URL"),
        ("WFE_LEASE", "1y", "WFE_LEASE: '1y' is not a time such as"),
        ("WFE_MAX_STEPS", "many", "WFE_MAX_STEPS: 'many' is not a whole number"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("")

    with pytest.raises(ConfigError) as told:
        read_config(tmp_path / "c.yaml", {name: value})

    assert str(told.value).startswith(problem)


async def test_secrets_are_filled_in_and_quoted(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "s.env").write_text("pw=p@ss/word\n")
    path = write(
        f"db: postgresql://u:${{{{ secrets.pw }}}}@h/d\nsecrets:\n  - file:{tmp_path}/s.env\n"
    )

    options = await read_config(path, {}).options()

    assert options["persistence"] == "postgresql://u:p%40ss%2Fword@h/d"


async def test_a_missing_secret_is_named(write: Callable[[str], Path]) -> None:
    found = read_config(write("db: postgresql://u:${{ secrets.no-such }}@h/d\n"), {})

    with pytest.raises(ConfigError, match="db: there is no secret 'no-such'") as told:
        await found.options()

    assert "WFE_SECRET_NO_SUCH" in str(told.value)


def test_every_setting_is_an_option_of_the_host() -> None:
    import inspect  # noqa: PLC0415 - only here

    known = set(inspect.signature(WorkflowHost.__init__).parameters)

    assert set(SETTINGS) <= known
    assert {"persistence" if key == "db" else key for key in URLS} <= known


async def test_a_host_is_made_of_it(write: Callable[[str], Path], tmp_path: Path) -> None:
    path = write(f"db: sqlite:///{tmp_path}/runs.db\nhost:\n  name: configured\n  lease: 7s\n")

    async with await WorkflowHost.from_config(path, linger=timedelta(seconds=1)) as host:
        (worker,) = (await host.health())["workers"]

    assert worker["name"] == "configured"
    assert (tmp_path / "runs.db").exists()


async def test_what_is_given_wins_over_the_file(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    path = write(f"db: sqlite:///{tmp_path}/runs.db\nhost:\n  name: configured\n")
    given: dict[str, Any] = {"persistence": "memory://", "name": "given"}

    async with await WorkflowHost.from_config(path, **given) as host:
        (worker,) = (await host.health())["workers"]

    assert worker["name"] == "given"
    assert not (tmp_path / "runs.db").exists()

"""Our secrets providers keep the contract; and what is special about each."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from wfe.core.errors import PluginNotFoundError, ProviderError
from wfe.core.secret_commands import CommandSecrets, open_command
from wfe.core.secret_files import FileSecrets, open_file, read_dotenv
from wfe.core.secrets import (
    ChainedSecrets,
    EnvSecrets,
    MappingSecrets,
    MissingSecretError,
    SecretInDataError,
    SecretNameError,
    SecretsProvider,
    missing_secrets,
    open_secrets,
    variable_of,
)
from wfe.testing.contracts import SecretsContract

VALUES = SecretsContract.values


def private(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


class TestEnv(SecretsContract):
    @pytest.fixture
    def secrets(self) -> SecretsProvider:
        return EnvSecrets(environ={variable_of(name): value for name, value in VALUES.items()})


class TestMapping(SecretsContract):
    @pytest.fixture
    def secrets(self) -> SecretsProvider:
        return MappingSecrets(VALUES)


class TestJsonFile(SecretsContract):
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> SecretsProvider:
        return FileSecrets(private(tmp_path / "s.json", json.dumps(dict(VALUES))))


class TestYamlFile(SecretsContract):
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> SecretsProvider:
        # JSON texts are YAML texts; their keys need no quotes.
        lines = [
            f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in VALUES.items()
        ]
        return FileSecrets(private(tmp_path / "s.yaml", "".join(lines)))


class TestDotenv(SecretsContract):
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> SecretsProvider:
        def quoted(value: str) -> str:
            for mark, escape in (("\\", "\\\\"), ('"', '\\"'), ("$", "\\$")):
                value = value.replace(mark, escape)
            return f'"{value}"'

        lines = [f"{name}={quoted(value)}\n" for name, value in VALUES.items()]
        return FileSecrets(private(tmp_path / "secrets.env", "".join(lines)))


class TestDirectory(SecretsContract):
    @pytest.fixture
    def secrets(self, tmp_path: Path) -> SecretsProvider:
        # As Kubernetes does it: links to files in a directory that is replaced as a whole.
        (tmp_path / "..data").mkdir()
        for name, value in VALUES.items():
            private(tmp_path / "..data" / name, f"{value}\n")
            (tmp_path / name).symlink_to(tmp_path / "..data" / name)
        return FileSecrets(tmp_path)


class TestCommand(SecretsContract):
    capabilities = frozenset[str]()

    @pytest.fixture
    def secrets(self, tmp_path: Path) -> SecretsProvider:
        script = private(
            tmp_path / "tool.py",
            "import json, sys\n"
            f"values = json.loads({json.dumps(json.dumps(dict(VALUES)))})\n"
            "found = values.get(sys.argv[1])\n"
            "sys.stdout.reconfigure(encoding='utf-8', newline='')\n"
            "print(found) if found else None\n",
        )
        return CommandSecrets([sys.executable, "-S", "-E", str(script), "{name}"])


class TestChain(SecretsContract):
    @pytest.fixture
    def secrets(self) -> SecretsProvider:
        half = {name: value for name, value in VALUES.items() if len(name) > 5}
        return ChainedSecrets((MappingSecrets(half), MappingSecrets(VALUES)))


async def test_the_first_that_knows_wins_and_a_failure_is_not_passed_over(tmp_path: Path) -> None:
    chain = open_secrets([{"a": "1", "b": ""}, {"a": "2", "b": "2", "c": "3"}])
    assert [await chain.get(name) for name in "abcd"] == ["1", "", "3", None]

    broken = open_secrets([FileSecrets(tmp_path / "none"), {"a": "1"}])
    with pytest.raises(ProviderError, match="does not exist"):
        await broken.get("a")


async def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = private(tmp_path / "my secrets.env", "A_B='x y'\n")
    monkeypatch.setenv("WFE_SECRET_A_B", "from env")
    monkeypatch.setenv("CI_A_B", "from ci")

    for given, value in [
        (None, "from env"),
        ("env:", "from env"),
        ("env:CI_", "from ci"),
        (f"file:{file}", "x y"),
        (f"file://{str(file).replace(' ', '%20')}", "x y"),
        ("command:/bin/echo {name}", "a-b"),
    ]:
        assert await open_secrets(given).get("a-b") == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("vault", "is no URL"),
        ("env:a b", "cannot begin the name"),
        ("file:", "names no file"),
        ("command:", "needs an argument with {name}"),
        ("command:pass show x", "needs an argument with {name}"),
        ("command:{name}", "needs an argument with {name}"),
        ("command:pass 'x", "cannot be read: No closing quotation"),
    ],
)
def test_urls_that_are_wrong(given: str, message: str) -> None:
    with pytest.raises(ProviderError) as raised:
        open_secrets(given)
    assert message in str(raised.value)


def test_what_is_no_provider() -> None:
    with pytest.raises(TypeError, match="secrets must be a provider"):
        open_secrets(3)  # type: ignore[arg-type]
    with pytest.raises(PluginNotFoundError, match=r"no 'wfe.secrets' plugin named 'vault'"):
        open_secrets("vault://x")


def test_dotenv_lines() -> None:
    text = (
        "\ufeff# a comment\n\n"
        "PLAIN=a b # c\r\n"
        "export EXPORTED = spaced \n"
        "SINGLE='a\\n$b' # comment\n"
        'DOUBLE="a\\n\\"b\\\\n\\q"\n'
        "KEY='-----BEGIN\nline=2\n-----END'\n"
        "EMPTY=\n"
    )

    assert dict(read_dotenv(text, "f")) == {
        "PLAIN": "a b # c",
        "EXPORTED": "spaced",
        "SINGLE": "a\\n$b",
        "DOUBLE": 'a\n"b\\n\\q',
        "KEY": "-----BEGIN\nline=2\n-----END",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.env", "A=1\nhunter2\n", "line 2 is not NAME=value"),
        ("s.env", "=hunter2", "line 1 is not NAME=value"),
        ("s.env", "A='hunter2\nx", "the quote that begins in line 1 does not end"),
        ("s.env", "A='hunter2' x", "line 1 has something behind the closing quote"),
        ("s.json", '{"token": "hunter2"', "is not well-formed JSON"),
        ("s.json", '["hunter2"]', "holds no map of names and values"),
        ("s.json", '{"token": 12345}', "token is no text (int); write it in quotes"),
        ("s.yaml", "token: [hunter2", "is not well-formed YAML (line"),
        ("s.yaml", "token: 012345", "token is no text (int); write it in quotes"),
        ("s.yaml", "!!python/object:os.system {}\n", "is not well-formed YAML"),
        ("s.env", "x" * 1_100_000, "has more than 1,048,576 bytes"),
    ],
)
async def test_files_that_are_wrong(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ProviderError) as raised:
        await FileSecrets(private(tmp_path / name, text)).get("token")

    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert not raised.value.transient


async def test_what_is_no_file_is_refused_and_nothing_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "binary", tmp_path / "none"):
        with pytest.raises(ProviderError):
            await FileSecrets(path).get("token")
    (tmp_path / "token").mkdir()
    with pytest.raises(ProviderError, match=r"is no file|cannot be read"):
        await FileSecrets(tmp_path).get("token")


async def test_a_file_that_others_may_read_gives_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = private(tmp_path / "s.env", "TOKEN=hunter2\n")
    provider = FileSecrets(file)
    await provider.get("token")
    assert caplog.records == []
    file.chmod(0o644)

    with caplog.at_level(logging.WARNING, "wfe.secrets"):
        assert [await provider.get("token") for _ in range(3)] == ["hunter2"] * 3

    assert [record.getMessage() for record in caplog.records] == [
        f"{file} can be read by other users (mode 644); chmod 600 it"
    ]


async def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    provider = open_file(f"file:{private(tmp_path / 's.env', 'TOKEN=one')}")
    assert await provider.get("token") == "one"
    private(tmp_path / "s.env", "TOKEN=two")
    assert await provider.get("token") == "two"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo half-secret; echo 'no such entry' >&2; exit 3", "failed with exit code 3: no such"),
        ("exit 1", "failed with exit code 1"),
        ("printf '\\377'", "printed no UTF-8 text"),
        ("head -c 1100000 /dev/zero", "printed more than 1,048,576 bytes"),
        ("kill -9 $$", "failed with exit code -9"),
        ("sleep 30", "took longer than 0.3 s"),
        ("sleep 30 & sleep 30", "took longer than 0.3 s"),
    ],
)
async def test_commands_that_fail(script: str, message: str) -> None:
    provider = CommandSecrets(["/bin/sh", "-c", script, "{name}"], timeout=0.3)
    started = time.monotonic()

    with pytest.raises(ProviderError) as raised:
        await provider.get("token")

    assert message in str(raised.value)
    assert "half-secret" not in str(raised.value)
    assert time.monotonic() - started < 5


async def test_a_command_that_is_not_there_or_that_a_name_would_change() -> None:
    with pytest.raises(ProviderError, match="cannot be started"):
        await open_command("command:/no/such/tool {name}").get("token")
    with pytest.raises(SecretNameError):
        await open_command("command:/bin/echo {name}").get("-n")
    # An argument stays one argument, whatever is in it.
    assert await CommandSecrets(["/bin/echo", "a  {name}"]).get("x") == "a  x"


def test_errors_say_where_and_never_what() -> None:
    missing = MissingSecretError("npm-token", "the environment (WFE_SECRET_…)")
    stored = SecretInDataError("data.url", "npm-token")

    assert "WFE_SECRET_NPM_TOKEN" in str(missing)
    assert str(stored).startswith("data.url contains the secret 'npm-token'")
    assert stat.S_IMODE(0o600) == 0o600


async def test_nothing_is_missing_without_steps() -> None:
    assert await missing_secrets([], MappingSecrets({})) == []

"""The fixtures in runs of their own: skipped or refused without a server, shared by workers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from services_parts import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: wheels of servers")

INI = """
[pytest]
asyncio_default_fixture_loop_scope = function
"""
BOTH = """
import pytest
from pathlib import Path

@pytest.mark.parametrize("number", range(6))
def test_servers(number, postgres_server, valkey_server, tmp_path_factory):
    with open(Path(__file__).with_name("told"), "a") as told:
        print(postgres_server.url, valkey_server.url, file=told)

def test_without():
    pass
"""
DATABASES = """
import psycopg

urls = []

def one(url):
    assert url not in urls
    urls.append(url)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")

def test_first(postgres_url):
    one(postgres_url)

def test_second(postgres_url):
    one(postgres_url)

def test_copies(postgres_databases):
    template = postgres_databases.new()
    one(template)
    with psycopg.connect(postgres_databases.new(template)) as connection:
        assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]

def test_what_is_left(postgres_databases):
    postgres_databases.drop(postgres_databases.new())
    with psycopg.connect(postgres_databases.server) as connection:
        found = connection.execute("SELECT count(*) FROM pg_database WHERE datname ~ '^wfe_'")
        assert found.fetchone() == (2,)
"""
KEYS = """
from wfe.testing.services.valkey import ask_valkey

def check(url):
    assert ask_valkey(url, ("DBSIZE",), ("FUNCTION", "LIST")) == (0, [])
    ask_valkey(url, ("SET", "a", "1"), ("FUNCTION", "LOAD",
        "#!lua name=x\\nredis.register_function('f', function() return 1 end)"))

def test_first(valkey_url):
    check(valkey_url)

def test_second(valkey_url):
    check(valkey_url)
"""
FEATURES = """
import pytest

@pytest.mark.services("valkey", features=("ifeq",))
def test_can(valkey_url):
    pass

@pytest.mark.services("valkey", features=("flying",))
def test_cannot(valkey_url):
    pass
"""
FAILING = """
from wfe.testing.services.valkey import ask_valkey

def test_fails(valkey_url):
    ask_valkey(valkey_url, ("CONFIG", "SET", "loglevel", "verbose"), ("DEBUG", "LOG", "my words"))
"""


@pytest.fixture(autouse=True)
def _settings(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeini(INI)
    for name in ("POSTGRES", "VALKEY"):
        for kind in ("URL", "VERSION"):
            monkeypatch.delenv(f"WFE_TEST_{name}_{kind}", raising=False)
        monkeypatch.setenv(f"WFE_TEST_{name}_SOURCE", "wheel")
    monkeypatch.delenv("WFE_REQUIRE_SERVICES", raising=False)


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    """Run in a process of its own, with which the servers of its session end.

    In this one, Python 3.11 may also fail to parse a source after a test that recursed deeply.
    """
    pytester.makepyfile(test)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=120)


@pytest.mark.services("postgres", "valkey")
def test_workers_share_one_postgres_and_nothing_is_left(pytester: pytest.Pytester) -> None:
    result = run(pytester, BOTH, "-n2", "--dist=each")

    result.assert_outcomes(passed=14)
    result.stdout.fnmatch_lines(["services: postgres * (wheel *), valkey * (wheel *)"])
    told = [line.split() for line in (pytester.path / "told").read_text().splitlines()]
    assert len({postgres for postgres, _ in told}) == 1
    assert len({valkey for _, valkey in told}) == 2
    assert eventually(lambda: not _running(told[0][0]))


@pytest.mark.services("postgres")
def test_each_test_has_an_empty_database(pytester: pytest.Pytester) -> None:
    run(pytester, DATABASES).assert_outcomes(passed=4)


@pytest.mark.services("valkey")
def test_each_test_has_empty_keys_and_functions(pytester: pytest.Pytester) -> None:
    run(pytester, KEYS).assert_outcomes(passed=2)


@pytest.mark.services("valkey")
def test_a_feature_that_the_server_lacks_skips(pytester: pytest.Pytester) -> None:
    result = run(pytester, FEATURES, "-rs")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*valkey * (wheel *) lacks 'flying'"])


def test_without_a_server_tests_skip_and_say_why(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFE_TEST_VALKEY_VERSION", "5")

    result = run(pytester, KEYS, "-rs")

    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*no valkey 5: url is not asked for*"])


def test_where_services_are_required_their_absence_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFE_TEST_VALKEY_VERSION", "5")
    monkeypatch.setenv("WFE_REQUIRE_SERVICES", "1")

    result = run(pytester, KEYS)

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*WFE_REQUIRE_SERVICES=1, and there is no valkey 5*"])


def test_a_named_server_that_does_not_answer_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WFE_TEST_VALKEY_SOURCE")
    monkeypatch.setenv("WFE_TEST_VALKEY_URL", "valkey://127.0.0.1:1/0")

    result = run(pytester, KEYS)

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*WFE_TEST_VALKEY_URL is asked for, but no valkey answers*"])


@pytest.mark.services("valkey")
def test_a_failure_shows_what_the_server_wrote(pytester: pytest.Pytester) -> None:
    result = run(pytester, FAILING)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the end of what valkey wrote*", "*Ready to accept connections*"])


def test_what_uses_a_fixture_is_marked(pytester: pytest.Pytester) -> None:
    result = run(pytester, BOTH, "--collect-only", "-q", "-m", "not services")

    result.stdout.fnmatch_lines(["*1/7 tests collected (6 deselected)*"])


def _running(url: str) -> bool:
    port = url.rpartition(":")[2].partition("/")[0]
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(f":{int(port):04X} 00000000:0000 0A" in line for line in lines)

"""A skip nobody allowed must fail CI: the guard, tested on small runs of its own."""

from __future__ import annotations

import pytest

import skip_guard
from workspace import ROOT

__all__: list[str] = []

SKIPPING = """
import pytest

def test_runs():
    assert True

@pytest.mark.skip(reason="no server here")
def test_needs_a_server():
    assert False
"""

EXPECTED_FAILURE = """
import pytest

@pytest.mark.xfail(reason="known")
def test_fails():
    assert False
"""

AT_COLLECTION = """
import pytest

pytest.skip("module not for here", allow_module_level=True)
"""


def run(pytester: pytest.Pytester, test: str, allowed: str) -> pytest.RunResult:
    pytester.makepyfile(test)
    (pytester.mkdir("tests") / "allowed_skips.txt").write_text(allowed)
    return pytester.runpytest_inprocess("-p", "skip_guard")


@pytest.fixture(autouse=True)
def _required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFE_REQUIRE_SERVICES", "1")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.parametrize(
    ("test", "allowed", "exit_code"),
    [
        pytest.param(SKIPPING, "", pytest.ExitCode.TESTS_FAILED, id="unlisted"),
        pytest.param(SKIPPING, "no server  # why", pytest.ExitCode.OK, id="listed-by-reason"),
        pytest.param(SKIPPING, "needs_a_server  # why", pytest.ExitCode.OK, id="listed-by-name"),
        pytest.param(SKIPPING, "no clock  # why", pytest.ExitCode.TESTS_FAILED, id="other-listed"),
        pytest.param(EXPECTED_FAILURE, "", pytest.ExitCode.OK, id="xfail-is-no-skip"),
        pytest.param(AT_COLLECTION, "", pytest.ExitCode.TESTS_FAILED, id="whole-module"),
    ],
)
def test_a_skip_needs_a_line_in_the_list(
    pytester: pytest.Pytester, test: str, allowed: str, exit_code: pytest.ExitCode
) -> None:
    result = run(pytester, test, allowed)

    assert result.ret == exit_code


def test_the_refused_skip_is_named(pytester: pytest.Pytester) -> None:
    result = run(pytester, SKIPPING, "")

    result.stdout.fnmatch_lines(["*does not allow*", "*test_needs_a_server: no server here"])


def test_elsewhere_a_skip_is_a_skip(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WFE_REQUIRE_SERVICES")

    assert run(pytester, SKIPPING, "").ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no server", "line 1: write the reason"),
        ("# fine\n\n(  # open bracket", "line 3: '\\(' is no pattern"),
    ],
)
def test_a_bad_list_says_which_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skip_guard.parse_allowed_skips(text)


def test_the_list_of_this_repository_reads() -> None:
    text = (ROOT / skip_guard.ALLOWED_FILE).read_text(encoding="utf-8")

    assert skip_guard.parse_allowed_skips(text)

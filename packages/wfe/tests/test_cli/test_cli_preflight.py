"""What must be there before a run begins: secrets, services, labels, variables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]

SECRET = """\
workflow:
  id: secret
  version: 1
  steps:
    - {name: effect, run: echo began >> effects}
    - name: deploy
      env: {TOKEN: "${{ secrets.deploy-token }}"}
      run: 'echo "token $TOKEN has ${#TOKEN}"'
""".replace("secrets.deploy-token", "secrets['deploy-token']")

SERVICES = """\
workflow:
  id: served
  version: 1
  services:
    db: {image: "postgres:17"}
  steps:
    - {name: only, run: echo ran}
"""

LABELS = """\
workflow:
  id: labelled
  version: 1
  steps:
    - {name: only, runs_on: [gpu], run: echo ran}
"""


@pytest.fixture
def files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("secret", SECRET), ("services", SERVICES), ("labels", LABELS)):
        (folder / f"{name}.yaml").write_text(text)
    monkeypatch.delenv("WFE_SECRET_DEPLOY_TOKEN", raising=False)
    return folder


def test_missing_secrets_are_listed_and_nothing_runs(wfe: Wfe, files: Path) -> None:
    ended = wfe("run", "secret.yaml")

    assert ended == (
        2,
        "",
        (
            "error: 1 secret missing; nothing was run\n"
            "  deploy-token  (steps: secret: deploy; set WFE_SECRET_DEPLOY_TOKEN)\n"
            "  or give a file that has them: --secrets-file FILE\n"
        ),
    )
    assert not (files / "effects").exists()
    assert not wfe("list").out.startswith("01")


def test_secrets_come_from_a_file_and_are_masked(wfe: Wfe, files: Path) -> None:
    (files / "s.env").write_text("deploy-token=hunter22\n")
    (files / "s.env").chmod(0o600)

    ended = wfe("run", "secret.yaml", "--secrets-file", "s.env")

    assert ended.code == 0, ended
    assert "deploy | token *** has 8" in ended.out
    assert "hunter22" not in ended.out + ended.err


def test_secrets_come_from_the_environment(
    wfe: Wfe, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFE_SECRET_DEPLOY_TOKEN", "hunter22")

    assert "token *** has 8" in wfe("run", "secret.yaml").out


def test_a_secrets_file_that_is_not_there(wfe: Wfe, files: Path) -> None:
    ended = wfe("run", "secret.yaml", "--secrets-file", "no.env")

    assert ended.code == 2
    assert "no.env" in ended.err


def test_services_need_a_plugin_or_are_left_out(wfe: Wfe, files: Path) -> None:
    refused = wfe("run", "services.yaml")
    done = wfe("run", "services.yaml", "--no-services")

    assert refused.code == 2
    assert "'db'" in refused.err
    assert "wfe.services" in refused.err
    assert "--no-services" in refused.err
    assert done.code == 0
    assert wfe("validate", "services.yaml").code == 0
    assert "postgres:17" in wfe("graph", "services.yaml").out


def test_labels_must_be_there(wfe: Wfe, files: Path) -> None:
    refused = wfe("run", "labels.yaml")

    assert refused.code == 2
    assert "error: the workflow runs on machines with the label 'gpu'" in refused.err
    assert "--label gpu" in refused.err
    assert wfe("run", "labels.yaml", "--label", "gpu").code == 0


def test_variables_of_last_resort(wfe: Wfe, folder: Path) -> None:
    (folder / "v.yaml").write_text(
        "workflow: {id: v, version: 1, steps: [{name: a, run: 'echo ((word))'}]}\n"
    )
    (folder / "conf.yaml").write_text("variables:\n  word: configured\n")

    assert "a | configured" in wfe("run", "v.yaml", "--config", "conf.yaml").out
    assert "a | given" in wfe("run", "v.yaml", "--config", "conf.yaml", "-v", "word=given").out
    assert wfe("validate", "v.yaml", "--config", "conf.yaml").code == 0
    assert wfe("validate", "v.yaml").code == 2

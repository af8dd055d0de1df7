"""The OCI layout keeps the contract of artifact stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wfe.core.oci import OciLayout
from wfe.testing.contracts import ArtifactStoreContract


@pytest.fixture
def artifacts(tmp_path: Path) -> OciLayout:
    return OciLayout(tmp_path / "layout")


def _largest(artifacts: OciLayout) -> Path:
    blobs = artifacts.directory / "blobs" / "sha256"
    return max(blobs.iterdir(), key=lambda path: path.stat().st_size)


class TestOciLayout(ArtifactStoreContract):
    @pytest.fixture
    def damage(self, artifacts: OciLayout) -> Callable[[], object]:
        def flip_a_bit() -> None:
            path = _largest(artifacts)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)

        return flip_a_bit


class TestOciLayoutThatLosesFiles(ArtifactStoreContract):
    @pytest.fixture
    def damage(self, artifacts: OciLayout) -> Callable[[], object]:
        return lambda: _largest(artifacts).unlink()


class TestOciLayoutWithoutZstd(ArtifactStoreContract):
    @pytest.fixture(autouse=True)
    def without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("wfe.core.trees._zstd", lambda: None)

    @pytest.fixture
    def damage(self, artifacts: OciLayout) -> Callable[[], object]:
        def cut() -> None:
            path = _largest(artifacts)
            path.write_bytes(path.read_bytes()[:-1])

        return cut

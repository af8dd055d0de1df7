"""What the OCI layout promises beyond the contract: its form, its bounds, and a clean crash."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from wfe.core.artifacts import ArtifactError, DamagedArtifactError
from wfe.core.errors import ProviderError, StoreUnavailableError
from wfe.core.oci import OciLayout, open_url
from wfe.core.trees import has_zstd


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout(tmp_path / "layout")


def _tree(directory: Path, **contents: bytes) -> dict[str, Path]:
    directory.mkdir(exist_ok=True)
    files = {name: directory / name for name in contents}
    for name, path in files.items():
        path.write_bytes(contents[name])
    return files


def _json(path: Path) -> Any:
    return orjson.loads(path.read_bytes())


def check_layout(directory: Path) -> list[dict[str, Any]]:
    """Check a directory against what the image layout asks for; return the manifests."""
    assert _json(directory / "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    index = _json(directory / "index.json")
    assert index["schemaVersion"] == 2
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    blobs = directory / "blobs" / "sha256"
    for path in blobs.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    manifests: list[dict[str, Any]] = []
    for described in index["manifests"]:
        path = blobs / described["digest"].removeprefix("sha256:")
        assert path.stat().st_size == described["size"]
        manifest = _json(path)
        assert manifest["schemaVersion"] == 2
        assert manifest["mediaType"] == described["mediaType"]
        assert manifest["artifactType"] == described["artifactType"]
        assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
        for blob in (manifest["config"], *manifest["layers"]):
            assert (blobs / blob["digest"].removeprefix("sha256:")).stat().st_size == blob["size"]
        manifests.append(manifest)
    return manifests


async def test_it_is_an_image_layout(layout: OciLayout, tmp_path: Path) -> None:
    one = await layout.put(_tree(tmp_path / "one", only=b"x"))
    many = await layout.put(_tree(tmp_path / "many", a=b"a", b=b"b", big=b"x" * 100_000))
    await layout.export({"run-1/one": one.manifest, "run-1/many": many.manifest})

    manifests = check_layout(layout.directory)

    titles = [
        [layer["annotations"]["org.opencontainers.image.title"] for layer in each["layers"]]
        for each in manifests
    ]
    assert titles[1] == ["only"]
    assert titles[0][0] == "big"
    assert titles[0][1].startswith("files.tar.")
    assert manifests[0]["annotations"]["dev.wfe.digest"] == many.digest


async def test_oras_reads_it(layout: OciLayout, tmp_path: Path) -> None:
    oras = pytest.importorskip("oras.layout", reason="oras is not installed")
    stored = await layout.put(_tree(tmp_path / "one", a=b"a", big=b"x" * 100_000))
    await layout.export({"run-1/dist": stored.manifest})

    found = oras.Layout(str(layout.directory))

    found.validate()
    assert found.get_ordered_blobs("run-1/dist")[-1] == stored.manifest


async def test_skopeo_reads_it(layout: OciLayout, tmp_path: Path) -> None:
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        pytest.skip("skopeo is not installed")
    stored = await layout.put(_tree(tmp_path / "one", a=b"a"))
    await layout.export({"dist": stored.manifest})

    command = [skopeo, "inspect", "--raw", f"oci:{layout.directory}:dist"]
    told = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)

    digest = hashlib.sha256(told.stdout).hexdigest()
    assert f"sha256:{digest}" == stored.manifest


async def test_a_fresh_layout_is_valid_before_any_export(layout: OciLayout, tmp_path: Path) -> None:
    await layout.put(_tree(tmp_path / "one", a=b"a"))

    assert check_layout(layout.directory) == []


async def test_names_of_what_is_gone_are_left_out(layout: OciLayout, tmp_path: Path) -> None:
    there = await layout.put(_tree(tmp_path / "one", a=b"a"))

    await layout.export({"a": there.manifest, "b": f"sha256:{'0' * 64}"})

    assert len(check_layout(layout.directory)) == 1


async def test_equal_files_are_kept_once(layout: OciLayout, tmp_path: Path) -> None:
    big = b"x" * 200_000
    await layout.put(_tree(tmp_path / "one", big=big, a=b"a"))
    await layout.put(_tree(tmp_path / "two", big=big, a=b"b"))

    sizes = [path.stat().st_size for path in (layout.directory / "blobs" / "sha256").iterdir()]
    assert sizes.count(len(big)) == 1


async def test_the_digest_does_not_depend_on_the_compression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_zstd():
        pytest.skip("zstandard is not installed")
    files = _tree(tmp_path / "one", a=b"a", b=b"b")
    first = await OciLayout(tmp_path / "zstd").put(files)
    monkeypatch.setattr("wfe.core.trees._zstd", lambda: None)
    second = await OciLayout(tmp_path / "gzip").put(files)

    assert first.digest == second.digest
    assert first.manifest != second.manifest


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_artifact": 10}, "at most 10 are allowed"),
        ({"max_files": 1}, "at most 1 are allowed"),
        ({"max_total": 10}, "may have 10 bytes together"),
    ],
)
async def test_bounds(tmp_path: Path, options: dict[str, int], problem: str) -> None:
    layout = OciLayout(tmp_path / "layout", **options)

    with pytest.raises(ArtifactError, match=problem):
        await layout.put(_tree(tmp_path / "one", a=b"x" * 6, b=b"x" * 6))


async def test_the_total_counts_what_was_put(tmp_path: Path) -> None:
    layout = OciLayout(tmp_path / "layout", max_total=5000)
    await layout.put(_tree(tmp_path / "one", a=os.urandom(3000)))

    with pytest.raises(ArtifactError, match="together"):
        await layout.put(_tree(tmp_path / "two", a=os.urandom(3000)))
    await layout.sweep([], 0)
    await layout.put(_tree(tmp_path / "two", a=os.urandom(3000)))


async def test_an_artifact_larger_than_allowed_is_not_unpacked(tmp_path: Path) -> None:
    stored = await OciLayout(tmp_path / "layout").put(_tree(tmp_path / "one", a=b"x" * 1000))

    with pytest.raises(ArtifactError, match="larger than it may be"):
        await OciLayout(tmp_path / "layout", max_artifact=10).get(stored.manifest, tmp_path / "to")


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b"nonsense",
        b'{"layers":[{}]}',
        b'{"layers":[{"digest":"../../x","size":1,"mediaType":"a"}]}',
        b'{"layers":[{"digest":5,"size":1,"mediaType":"a"}]}',
        b'{"layers":5}',
    ],
)
async def test_a_foreign_manifest_is_refused(
    layout: OciLayout, tmp_path: Path, text: bytes
) -> None:
    await layout.put(_tree(tmp_path / "one", a=b"a"))
    digest = hashlib.sha256(text).hexdigest()
    (layout.directory / "blobs" / "sha256" / digest).write_bytes(text)

    with pytest.raises(DamagedArtifactError, match="is no manifest"):
        await layout.get(f"sha256:{digest}", tmp_path / "to")
    assert not await layout.whole(f"sha256:{digest}")


async def test_a_file_with_a_hostile_title_is_refused(layout: OciLayout, tmp_path: Path) -> None:
    await layout.put(_tree(tmp_path / "one", a=b"a"))
    blobs = layout.directory / "blobs" / "sha256"
    blob = hashlib.sha256(b"a").hexdigest()
    (blobs / blob).write_bytes(b"a")
    layer = {
        "digest": f"sha256:{blob}",
        "size": 1,
        "mediaType": "application/octet-stream",
        "annotations": {"org.opencontainers.image.title": "../evil"},
    }
    text = orjson.dumps({"layers": [layer]})
    digest = hashlib.sha256(text).hexdigest()
    (blobs / digest).write_bytes(text)

    with pytest.raises(ArtifactError, match="leads out"):
        await layout.get(f"sha256:{digest}", tmp_path / "to")

    assert not (tmp_path / "evil").exists()


async def test_trouble_with_the_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    files = _tree(tmp_path / "one", a=b"a")

    with pytest.raises(StoreUnavailableError, match="cannot read or write"):
        await OciLayout(tmp_path / "file" / "layout").put(files)


def test_a_url_names_the_directory(tmp_path: Path) -> None:
    assert open_url(f"oci://{tmp_path}/a%20b").directory == tmp_path / "a b"
    for wrong in ("file:///", "oci://server/share", "file:relative"):
        with pytest.raises(ProviderError, match="names no directory"):
            open_url(wrong)


_PUTTER = """
import asyncio, os, sys
from pathlib import Path
from wfe.core.oci import OciLayout
async def main():
    layout, files = OciLayout(sys.argv[1]), Path(sys.argv[2])
    k = 0
    while True:
        (files / "big").write_bytes(os.urandom(300_000))
        (files / "small").write_text(str(k))
        stored = await layout.put({"big": files / "big", "small": files / "small"})
        print(stored.manifest, flush=True)
        k += 1
asyncio.run(main())
"""


@pytest.mark.parametrize("after", [1, 3, 8])
async def test_a_killed_process_leaves_no_torn_state(tmp_path: Path, after: int) -> None:
    (tmp_path / "files").mkdir()
    layout = OciLayout(tmp_path / "layout")
    command = [sys.executable, "-c", _PUTTER, str(layout.directory), str(tmp_path / "files")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().split()

    blobs = layout.directory / "blobs" / "sha256"
    for path in blobs.iterdir():
        if not path.name.startswith(".new-"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    for manifest in told:
        assert await layout.whole(manifest)
    await layout.sweep(told, 0)
    assert not [path for path in blobs.iterdir() if path.name.startswith(".new-")]
    assert await layout.whole(told[-1])


async def test_a_put_does_not_get_slower_with_the_number_of_artifacts(
    layout: OciLayout, tmp_path: Path
) -> None:
    await layout.put(_tree(tmp_path / "one", a=b"a"))
    index = (layout.directory / "index.json").stat().st_mtime_ns

    for k in range(50):
        await layout.put(_tree(tmp_path / "one", a=str(k).encode()))

    assert (layout.directory / "index.json").stat().st_mtime_ns == index

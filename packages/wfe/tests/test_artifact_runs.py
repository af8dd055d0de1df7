"""Artifacts between steps and runs: kept, fetched, listed, cached, and gone with their run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.core.artifacts import ArtifactError, ArtifactInfo, ArtifactNotFoundError
from wfe.core.definition import WorkflowDefinition
from wfe.core.engine.artifacts import beside
from wfe.core.errors import ProviderError, WorkflowNotFoundError
from wfe.core.memory import MemoryStore
from wfe.core.oci import OciLayout
from wfe.host import SyncWorkflowHost, WorkflowHost
from wfe.sqlite import SqliteStore

Ctx = StepExecutionContext[Any]
CALLS: list[Any] = []
NONE = timedelta(0)


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CALLS.clear()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[WorkflowHost]:
    async with WorkflowHost(SqliteStore(tmp_path / "wfe.db")) as host:
        yield host


async def build(ctx: Ctx, text: str) -> dict[str, str]:
    CALLS.append(text)
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "a.txt").write_text(text)
    info = await ctx.artifacts.upload("dist", out)
    return {"digest": info.digest}


async def use(ctx: Ctx) -> dict[str, Any]:
    (path,) = await ctx.artifacts.download("dist", "got")
    names = [info.name for info in await ctx.artifacts.list()]
    return {"read": path.read_text(), "names": names}


def _flow(id_: str = "flow") -> WorkflowDefinition:
    return WorkflowBuilder().start_with(build).cache().then(use).build(id_, 1)


async def _run(host: WorkflowHost, flow: WorkflowDefinition, **data: Any) -> Any:
    run = await host.start_workflow(flow, data)
    return await run.wait(5)


def _blobs(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "artifacts" / "blobs" / "sha256").iterdir())


async def test_a_later_step_gets_what_an_earlier_one_kept(host: WorkflowHost) -> None:
    run = await _run(host, _flow(), text="hello")

    assert run.data["read"] == "hello"
    assert run.data["names"] == ["dist"]
    (info,) = await host.artifacts.list(run.id)
    assert (info.name, info.run, info.step, info.files) == ("dist", run.id, "build", 1)
    assert info.digest == run.data["digest"]


async def test_anybody_gets_them_after_the_run(host: WorkflowHost, tmp_path: Path) -> None:
    run = await _run(host, _flow(), text="hello")

    (path,) = await host.artifacts.download(run.id, "dist", tmp_path / "mine")

    assert path.read_text() == "hello"
    with pytest.raises(ArtifactNotFoundError, match=r"no artifact 'docs' \(it has: dist\)"):
        await host.artifacts.download(run.id, "docs", tmp_path)
    with pytest.raises(WorkflowNotFoundError):
        await host.artifacts.list("nobody")


async def test_children_share_the_names(host: WorkflowHost) -> None:
    child = WorkflowBuilder().start_with(build).build("child", 1)
    host.register(child)
    parent = (
        WorkflowBuilder()
        .sub_workflow("child", data=lambda d: {"text": d["text"]})
        .then(use)
        .build("parent", 1)
    )

    run = await _run(host, parent, text="of the child")

    assert run.data["read"] == "of the child"
    (info,) = await host.artifacts.list(run.id)
    assert info.run != run.id
    assert list(await host.artifacts.list(info.run)) == [info]


async def test_other_runs_have_their_own_names(host: WorkflowHost) -> None:
    runs = [await _run(host, _flow(), text=text) for text in ("one", "two")]

    assert [run.data["read"] for run in runs] == ["one", "two"]


async def test_a_digest_finds_what_another_run_kept(host: WorkflowHost, tmp_path: Path) -> None:
    async def fetch(ctx: Ctx, wanted: str) -> dict[str, str]:
        (path,) = await ctx.artifacts.download(wanted, tmp_path / "fetched")
        return {"read": path.read_text()}

    first = await _run(host, _flow(), text="shared")
    other = WorkflowBuilder().start_with(fetch).build("other", 1)

    assert (await _run(host, other, wanted=first.data["digest"])).data["read"] == "shared"
    assert (await _run(host, other, wanted="dist")).status == "failed"


async def test_a_name_kept_again_has_the_later_files(host: WorkflowHost) -> None:
    async def twice(ctx: Ctx) -> None:
        for text in ("old", "new"):
            Path("a.txt").write_text(text)
            await ctx.artifacts.upload("dist", "a.txt")

    run = await _run(host, WorkflowBuilder().start_with(twice).then(use).build("w", 1))

    assert (run.data["read"], run.data["names"]) == ("new", ["dist"])


async def test_several_paths_keep_their_names(host: WorkflowHost, tmp_path: Path) -> None:
    async def keep(ctx: Ctx) -> None:
        for place in ("a.txt", "d/b.txt", "d/e/c.txt"):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).write_text(place)
        await ctx.artifacts.upload("all", ["a.txt", Path("d")])

    run = await _run(host, WorkflowBuilder().start_with(keep).build("w", 1))
    await host.artifacts.download(run.id, "all", tmp_path / "mine")

    found = [
        p.relative_to(tmp_path / "mine").as_posix() for p in (tmp_path / "mine").rglob("*.txt")
    ]
    assert sorted(found) == ["a.txt", "d/b.txt", "d/e/c.txt"]


@pytest.mark.parametrize(
    ("name", "path", "problem"),
    [
        ("../x", "a.txt", "a name has letters"),
        ("", "a.txt", "a name has letters"),
        ("x", "missing", "'missing' cannot be read"),
        ("x", "empty", "there are no files to keep"),
        ("x", "linked", "leads out of the workspace"),
    ],
)
async def test_what_cannot_be_kept_fails_the_step(
    host: WorkflowHost, name: str, path: str, problem: str
) -> None:
    async def keep(ctx: Ctx) -> None:
        Path("a.txt").write_text("a")
        Path("empty").mkdir()
        Path("linked").mkdir()
        Path("linked/out").symlink_to("/etc/hostname")
        await ctx.artifacts.upload(name, path)

    run = await _run(host, WorkflowBuilder().start_with(keep).build("w", 1))

    assert run.status == "failed"
    assert run.error is not None
    assert run.error.type == ArtifactError.__name__
    assert problem in run.error.message


# -- with the cache -------------------------------------------------------------------------------


async def test_a_hit_has_its_artifacts(host: WorkflowHost) -> None:
    runs = [await _run(host, _flow(), text="x") for _ in range(2)]

    assert CALLS == ["x"]
    assert runs[0].data == runs[1].data
    infos = [(await host.artifacts.list(run.id))[0] for run in runs]
    assert infos[0].digest == infos[1].digest
    assert infos[1].run == runs[1].id


@pytest.mark.parametrize("how", ["gone", "damaged"])
async def test_a_hit_whose_files_are_not_whole_is_a_miss(
    host: WorkflowHost, tmp_path: Path, how: str
) -> None:
    first = await _run(host, _flow(), text="x")
    for path in _blobs(tmp_path):
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(b"!" + path.read_bytes()[1:])

    second = await _run(host, _flow(), text="x")
    third = await _run(host, _flow(), text="x")

    assert CALLS == ["x", "x"]  # and putting it again has healed the store
    assert second.data == first.data == third.data
    told = await host.cache.explain(second.id, "build")
    assert "its artifact 'dist' is gone or damaged" in told.why


async def test_what_a_result_needs_outlives_its_run(host: WorkflowHost) -> None:
    await _run(host, _flow(), text="x")
    await host.purge()
    await host.artifacts.sweep(NONE)

    run = await _run(host, _flow(), text="x")

    assert (run.data["read"], CALLS) == ("x", ["x"])


# -- retention ------------------------------------------------------------------------------------


async def test_files_go_with_their_run_and_its_result(host: WorkflowHost, tmp_path: Path) -> None:
    await _run(host, _flow(), text="gone")
    await host.cache.purge()
    await host.purge()
    kept = await _run(host, _flow(), text="kept")

    assert await host.artifacts.sweep() == 0  # too young
    assert await host.artifacts.sweep(NONE) > 0

    assert len(_blobs(tmp_path)) == 3  # manifest, file, and the empty configuration
    assert (await host.artifacts.list(kept.id))[0].name == "dist"
    assert await host.artifacts.sweep(NONE) == 0


async def test_the_host_sweeps_by_itself(host: WorkflowHost) -> None:
    await _run(host, _flow(), text="x")

    engine = host._engine  # pyright: ignore[reportPrivateUsage]
    await engine.retention.sweep()

    assert len(await host.cache.find()) == 1


# -- where they are -------------------------------------------------------------------------------


async def test_stores_in_one_directory_share_nothing(tmp_path: Path) -> None:
    default, own = SqliteStore(tmp_path / "wfe.db"), SqliteStore(tmp_path / "runs.db")

    assert beside(default, "artifacts") == tmp_path / "artifacts"
    assert beside(own, "artifacts") == tmp_path / "runs.db-artifacts"
    assert beside(MemoryStore(), "artifacts") is None
    assert beside(SqliteStore(":memory:"), "artifacts") is None


async def test_a_store_in_memory_has_a_temporary_directory() -> None:
    async with WorkflowHost("memory://") as host:
        run = await _run(host, _flow(), text="x")
        layout = host._engine.artifacts.store  # pyright: ignore[reportPrivateUsage]
        assert isinstance(layout, OciLayout)
        directory = layout.directory
        assert run.data["read"] == "x"
        assert directory.is_dir()

    assert not directory.exists()


@pytest.mark.parametrize("scheme", ["file", "oci"])
async def test_a_url_says_where(tmp_path: Path, scheme: str) -> None:
    async with WorkflowHost(artifacts=f"{scheme}://{tmp_path}/elsewhere") as host:
        await _run(host, _flow(), text="x")

    assert (tmp_path / "elsewhere" / "oci-layout").is_file()


async def test_names_are_written_for_other_tools_at_the_stop(tmp_path: Path) -> None:
    async with WorkflowHost(SqliteStore(tmp_path / "wfe.db")) as host:
        run = await _run(host, _flow(), text="x")

    index = orjson.loads((tmp_path / "artifacts" / "index.json").read_bytes())
    (manifest,) = index["manifests"]
    assert manifest["annotations"]["org.opencontainers.image.ref.name"] == f"{run.id}/dist"


async def test_a_store_without_names_says_so() -> None:
    class Plain(MemoryStore):
        features = frozenset({"queue", "lock"})

    async with WorkflowHost(Plain()) as host:
        run = await _run(host, WorkflowBuilder().start_with(build).build("w", 1), text="x")
        assert run.status == "failed"
        with pytest.raises(ProviderError, match="keeps no artifacts"):
            await host.artifacts.list(run.id)


def test_a_blocking_host_has_them_too(tmp_path: Path) -> None:
    with SyncWorkflowHost(f"sqlite:///{tmp_path}/wfe.db") as host:
        host.register(_flow())
        runs = [host.start_workflow("flow", {"text": "x"}).wait(5) for _ in range(2)]
        (info,) = host.artifacts.list(runs[0].id)
        (path,) = host.artifacts.download(runs[0].id, "dist", tmp_path / "mine")
        told = host.cache.explain(runs[1].id, "build")
        (entry,) = host.cache.find("flow")
        found = host.cache.get(entry.key)
        counted = host.artifacts.export(), host.cache.purge(), host.artifacts.sweep()

    assert isinstance(info, ArtifactInfo)
    assert path.read_text() == "x"
    assert (told.outcome, found, counted) == ("hit", entry, (2, 1, 0))


async def test_an_unused_layout_is_not_made(tmp_path: Path) -> None:
    async with WorkflowHost(SqliteStore(tmp_path / "wfe.db")) as host:
        run = await host.start_workflow(WorkflowBuilder().start_with(lambda: None).build("w", 1))
        await run.wait(5)
        assert list(await host.artifacts.list(run.id)) == []
        assert await host.artifacts.sweep(NONE) == 0

    assert not (tmp_path / "artifacts").exists()
    assert OciLayout(tmp_path / "artifacts").directory == tmp_path / "artifacts"

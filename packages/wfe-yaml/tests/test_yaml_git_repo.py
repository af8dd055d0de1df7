"""The git-repo step with the real git program and local repositories."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from step_contexts import Lines, step_context

from wfe.core.step_types import COMPUTED
from wfe.yaml.git_repo import GitError, GitRepo, GitUseError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(where: Path, *arguments: str) -> str:
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
    }
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    done = subprocess.run(
        command, cwd=where, env=env, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


class Origin:
    """A bare repository and a clone of it to commit with."""

    def __init__(self, where: Path) -> None:
        self.work = where / "author"
        self.bare = where / "origin.git"
        self.work.mkdir()
        git(self.work, "init", "--quiet")
        git(where, "init", "--quiet", "--bare", str(self.bare))
        self.first = self.commit("one", "1")
        git(self.work, "branch", "old")
        git(self.work, "tag", "v1")
        self.second = self.commit("two", "2")
        self.push()

    def commit(self, name: str, text: str) -> str:
        (self.work / name).write_text(text, encoding="utf-8")
        git(self.work, "add", name)
        git(self.work, "commit", "--quiet", "-m", name)
        return git(self.work, "rev-parse", "HEAD")

    def push(self) -> None:
        git(self.work, "push", "--quiet", "--all", str(self.bare))
        git(self.work, "push", "--quiet", "--tags", str(self.bare))


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    found = tmp_path / "workspace"
    found.mkdir()
    return found


async def get(workspace: Path, **config: Any) -> dict[str, Any]:
    return await GitRepo(workspace=workspace, **config).run(step_context())


async def test_the_default_branch_comes_under_the_repositorys_name(
    origin: Origin, workspace: Path
) -> None:
    assert await get(workspace, url=str(origin.bare)) == {"commit": origin.second, "path": "origin"}
    assert (workspace / "origin/two").read_text(encoding="utf-8") == "2"
    assert [child.name for child in workspace.iterdir()] == ["origin"]


@pytest.mark.parametrize("name", ["old", "v1"])
async def test_a_branch_or_tag(origin: Origin, workspace: Path, name: str) -> None:
    found = await get(workspace, url=str(origin.bare), branch=name, path="a/b")

    assert found == {"commit": origin.first, "path": "a/b"}
    assert not (workspace / "a/b/two").exists()


@pytest.mark.parametrize("digits", [40, 12])
async def test_a_commit_in_full_or_short(origin: Origin, workspace: Path, digits: int) -> None:
    found = await get(workspace, url=origin.bare.as_uri(), commit=origin.first[:digits])

    assert found["commit"] == origin.first


async def test_a_commit_that_is_not_there(origin: Origin, workspace: Path) -> None:
    with pytest.raises(GitUseError, match="has no commit deadbeefdead"):
        await get(workspace, url=str(origin.bare), commit="deadbeefdead")
    assert list(workspace.iterdir()) == []


async def test_depth_cuts_the_history(origin: Origin, workspace: Path) -> None:
    await get(workspace, url=origin.bare.as_uri(), depth=1)

    assert git(workspace / "origin", "rev-list", "--count", "HEAD") == "1"


async def test_again_brings_the_clone_up_to_date(origin: Origin, workspace: Path) -> None:
    await get(workspace, url=str(origin.bare))
    third = origin.commit("three", "3")
    origin.push()

    found = await get(workspace, url=str(origin.bare))

    assert found["commit"] == third
    assert (workspace / "origin/three").exists()


async def test_local_changes_are_never_thrown_away(origin: Origin, workspace: Path) -> None:
    await get(workspace, url=str(origin.bare))
    (workspace / "origin/two").write_text("mine", encoding="utf-8")
    origin.commit("two", "theirs")
    origin.push()

    with pytest.raises(GitError, match="git checkout failed"):
        await get(workspace, url=str(origin.bare))
    assert (workspace / "origin/two").read_text(encoding="utf-8") == "mine"


async def test_another_directory_in_the_way_is_left_alone(
    origin: Origin, workspace: Path, tmp_path: Path
) -> None:
    (workspace / "origin").mkdir()
    (workspace / "origin/mine").write_text("x", encoding="utf-8")
    with pytest.raises(GitUseError, match="is not empty; remove it, or choose another `path`"):
        await get(workspace, url=str(origin.bare))

    shutil.copytree(origin.bare, tmp_path / "second.git")
    await get(workspace, url=str(origin.bare), path="x")
    with pytest.raises(GitUseError, match="is a clone of"):
        await get(workspace, url=str(tmp_path / "second.git"), path="x")


async def test_an_empty_directory_is_taken(origin: Origin, workspace: Path) -> None:
    (workspace / "here").mkdir()

    found = await get(workspace, url=str(origin.bare), working_dir="here")

    assert found == {"commit": origin.second, "path": "here"}


async def test_a_relative_path_is_one_of_the_workspace(origin: Origin, workspace: Path) -> None:
    found = await get(workspace, run="../origin.git", path="x")

    assert found["commit"] == origin.second


@pytest.mark.parametrize("path", ["../out", "/tmp/out-of-it", "link/x"])
async def test_nothing_is_put_outside_of_the_workspace(
    origin: Origin, workspace: Path, tmp_path: Path, path: str
) -> None:
    (workspace / "link").symlink_to(tmp_path)

    with pytest.raises(GitUseError, match="is not inside of the workspace"):
        await get(workspace, url=str(origin.bare), path=path)


HOSTILE = [
    ("url", "--upload-pack=touch pwned"),
    ("url", "ext::sh -c 'touch pwned'"),
    ("url", "fd::17"),
    ("url", "sftp://x/y"),
    ("url", "-oProxyCommand=touch pwned"),
    ("url", "a\nb"),
    ("branch", "--output=pwned"),
    ("branch", "a b"),
    ("branch", "a..b"),
    ("branch", "+refs/heads/*:refs/heads/*"),
    ("commit", "HEAD"),
    ("commit", "--help"),
]


@pytest.mark.parametrize(("key", "value"), HOSTILE)
async def test_what_would_be_an_option_or_a_program_is_refused(
    origin: Origin, workspace: Path, key: str, value: str
) -> None:
    config = {"url": str(origin.bare), key: value}

    with pytest.raises(GitUseError):
        await get(workspace, **config)
    assert [found[0] for found in GitRepo.check_config(config)] == [key]
    assert list(workspace.iterdir()) == []


async def test_a_transport_helper_behind_a_redirection_is_not_allowed(
    origin: Origin, workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "home"
    config.mkdir()
    (config / ".gitconfig").write_text(
        f'[url "ext::sh -c touch% pwned% "]\n  insteadOf = {origin.bare}\n', encoding="utf-8"
    )
    monkeypatch.setenv("HOME", str(config))

    with pytest.raises(GitError, match="transport 'ext' not allowed"):
        await get(workspace, url=str(origin.bare))
    assert not list(tmp_path.rglob("pwned"))


async def test_hooks_of_a_clone_do_not_run(origin: Origin, workspace: Path) -> None:
    await get(workspace, url=str(origin.bare))
    hook = workspace / "origin/.git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch pwned\n", encoding="utf-8")
    hook.chmod(0o755)
    origin.commit("four", "4")
    origin.push()

    await get(workspace, url=str(origin.bare))

    assert not list(workspace.rglob("pwned"))


async def test_git_asks_nobody_and_credentials_stay_out_of_sight(workspace: Path) -> None:
    lines: Lines = []
    step = GitRepo(url="http://ada:s3cret@localhost:9/none.git", workspace=workspace)

    with pytest.raises(GitError, match="git fetch failed") as caught:
        await step.run(step_context(lines))

    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in str(lines)
    assert "s3cret" not in " ".join(map(str, workspace.rglob("*")))


async def test_a_clone_knows_its_origin_without_credentials(
    origin: Origin, workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The credentials go to git by its environment, and what it stores is the bare URL."""
    seen = tmp_path / "seen"
    real = shutil.which("git")
    fake = tmp_path / "bin/git"
    fake.parent.mkdir()
    fake.write_text(
        "#!/bin/sh\n"
        f'echo "$@ [$GIT_TERMINAL_PROMPT $GIT_CONFIG_KEY_0]" >> {seen}\n'
        f'GIT_CONFIG_KEY_0="url.{origin.bare}.insteadOf" exec {real} "$@"\n',
        encoding="utf-8",
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")

    found = await get(workspace, url="http://ada:s3cret@example.org/x.git")

    assert found == {"commit": origin.second, "path": "x"}
    assert "s3cret" not in (workspace / "x/.git/config").read_text(encoding="utf-8")
    assert "url = http://example.org/x.git" in (workspace / "x/.git/config").read_text("utf-8")
    for line in seen.read_text(encoding="utf-8").splitlines():
        arguments, _, environment = line.partition(" [")
        assert "s3cret" not in arguments
        assert environment == "0 url.http://ada:s3cret@example.org/x.git.insteadOf]"


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"url": "https://example.org/x"}, []),
        ({"run": "git@example.org:x/y.git", "branch": "main"}, []),
        ({"url": COMPUTED, "branch": COMPUTED, "commit": COMPUTED}, []),
        ({}, [""]),
        ({"url": "a", "run": "b"}, ["run"]),
        ({"url": "a", "commit": "abc"}, ["commit"]),
    ],
)
def test_what_a_file_may_say(config: dict[str, Any], keys: list[str]) -> None:
    assert [key for key, _, _ in GitRepo.check_config(config)] == keys


def test_its_errors_can_be_pickled() -> None:
    for error in (GitError("git fetch", "no"), GitUseError("no")):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)

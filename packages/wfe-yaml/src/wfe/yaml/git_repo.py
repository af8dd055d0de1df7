"""The step that gets a git repository, with the git program."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit, urlunsplit

import attrs
from attrs import validators as v

from wfe.core.errors import WfeError
from wfe.core.lean import define, frozen
from wfe.core.secret_names import PREFIX
from wfe.core.step_types import Role, setting, told
from wfe.yaml.variables import render_value

if TYPE_CHECKING:
    from wfe.core.steps import StepExecutionContext

__all__ = ["GitError", "GitRepo", "GitUseError"]

_PROTOCOLS: Final = ("https", "ssh", "http", "git", "file")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HELPER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")
_FULL: Final = 40  # digits of a commit
_COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,64}")
_NO_REF: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|(?:^|/)\.|[./]$")
_FROM_HOST: Final = (
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
# A repository brings no code that runs because it was fetched.
_SAFE: Final = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "submodule.recurse=false",
    "-c",
    "advice.detachedHead=false",
)
_QUIET: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
    "GIT_ALLOW_PROTOCOL": ":".join(_PROTOCOLS),
    "LC_ALL": "C",
}


@define(eq=False)
class GitError(WfeError):
    """The git program failed.

    Attributes:
        what: What was done.
        reason: What git said last.
    """

    what: str
    reason: str

    retryable: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"{self.what} failed: {self.reason}"


@define(eq=False)
class GitUseError(WfeError):
    """A URL, branch, commit or path that git does not get, or a directory in the way."""

    problem: str

    def __str__(self) -> str:
        return self.problem


def _url_problem(url: str) -> str | None:
    """Return why git does not get *url*: what would be an option, or run a program."""
    if not url or any(char < " " or char == "\x7f" for char in url):
        return "the URL is empty or has control characters"
    if url.startswith("-"):
        return "the URL begins with `-`"
    if _HELPER.match(url):
        return f"the URL asks for the remote helper {url.partition('::')[0]!r}"
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() not in _PROTOCOLS:
        return f"the URL has the scheme {scheme[1]!r}, not one of {', '.join(_PROTOCOLS)}"
    return None


def _branch_problem(branch: str) -> str | None:
    if not branch or branch.startswith("-") or _NO_REF.search(branch):
        return f"{branch[:80]!r} is no name of a branch or tag"
    return None


@define(kw_only=True)
class GitRepo:
    """Get a git repository: clone it, or bring an earlier clone up to date.

    The commit is checked out without a branch.  Local changes are never thrown away: where they
    are in the way, the step fails.  Git asks for no password; credentials in the URL reach neither
    the clone's configuration nor the log.
    """

    step_outputs: ClassVar[Mapping[str, str]] = {"commit": "string", "path": "string"}

    url: str | None = setting(default=None, description="Of the repository (or a path).")
    repository: str | None = attrs.field(
        alias="run", default=None, metadata=told(description="The URL, as WFE names the key.")
    )
    branch: str | None = setting(default=None, description="A branch or tag; else the default.")
    commit: str | None = setting(default=None, description="Instead of the newest of the branch.")
    depth: int | None = setting(
        default=None,
        validator=v.optional(v.ge(1)),
        description="How many commits of history are got; without it all.",
    )
    path: str | None = setting(
        default=None,
        description="Where to; below working_dir.  Without both: the repository's name.",
    )
    env: Mapping[str, Any] = setting(Role.ENV, factory=dict[str, Any])
    env_from_host: Sequence[str] = setting(Role.HOST_ENV, default=())
    working_dir: str | None = setting(Role.DIRECTORY, default=None)
    workspace: Path | None = setting(Role.WORKSPACE, default=None)
    grace: float = setting(Role.NONE, default=5.0)

    @classmethod
    def check_config(cls, config: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
        """Return what does not fit together."""
        found: list[tuple[str, str, str | None]] = []
        url, run = config.get("url"), config.get("run")
        if (url is None) == (run is None):
            problem = "`url` and `run` say the same" if run is not None else "`url` is missing"
            hint = "keep `url`" if run is not None else "write `url: https://...`"
            found.append(("run" if run is not None else "", problem, hint))
        for key in ("url", "run"):
            value = config.get(key)
            wrong = _url_problem(value) if isinstance(value, str) else None
            if wrong is not None:
                found.append((key, wrong, "write https://, ssh:// or a path"))
        branch, commit = config.get("branch"), config.get("commit")
        if isinstance(branch, str) and (wrong := _branch_problem(branch)):
            found.append(("branch", wrong, None))
        if isinstance(commit, str) and not _COMMIT.fullmatch(commit):
            hint = "write its 40 hexadecimal digits, quoted"
            found.append(("commit", f"{commit[:80]!r} is no commit", hint))
        return found

    @classmethod
    def missing(cls) -> tuple[str, str] | None:
        """Return what must be installed first."""
        if shutil.which("git") is not None:
            return None
        return "git-repo steps need the program git", "install git"

    async def run(self, ctx: StepExecutionContext[Any]) -> dict[str, Any]:
        """Get the repository.

        Raises:
            GitError: Git failed.
            GitUseError: Something is refused, or another directory is in the way.
        """
        workspace = (self.workspace or Path.cwd()).resolve()
        url = _absolute(self._checked(), workspace)
        target = self._target(workspace, url)
        git = _Git(ctx, self._environment(url), _credentials(url), self.grace)
        origin = _without_credentials(url)
        if target.exists() and any(target.iterdir()):
            await self._refuse_foreign(git, target, origin)
            commit = await self._check_out(git, target)
        else:
            commit = await self._clone(git, target, origin)
        return {"commit": commit, "path": target.relative_to(workspace).as_posix()}

    def _checked(self) -> str:
        url = self.url or self.repository or ""
        problem = _url_problem(url)
        if problem is None and self.branch is not None:
            problem = _branch_problem(self.branch)
        if problem is None and self.commit is not None and not _COMMIT.fullmatch(self.commit):
            problem = f"{self.commit[:80]!r} is no commit"
        if problem is not None:
            raise GitUseError(problem)
        return url

    def _target(self, workspace: Path, url: str) -> Path:
        base = workspace / (self.working_dir or ".")
        name = re.split(r"[/:]", url.rstrip("/"))[-1].removesuffix(".git")
        inside = self.path or ("." if self.working_dir else name or "repository")
        target = (base / inside).resolve()
        if not target.is_relative_to(workspace):
            raise GitUseError(f"the path {str(target)!r} is not inside of the workspace")
        if target.exists() and not target.is_dir():
            raise GitUseError(f"the path {str(target)!r} is no directory")
        return target

    async def _refuse_foreign(self, git: _Git, target: Path, origin: str) -> None:
        from wfe.core.http import shown_url  # noqa: PLC0415 - asyncio: only who runs it pays for it

        inside = (target / ".git").is_dir()
        # Of its own configuration only: what is above or global says nothing of this clone.
        ask = ("config", "--local", "--get", "remote.origin.url")
        found: list[str] = (await git.asked(target, *ask) or []) if inside else []
        if found != [origin]:
            what = f"is a clone of {shown_url(found[0])}" if found else "is not empty"
            raise GitUseError(
                f"the directory {str(target)!r} {what}; remove it, or choose another `path`"
            )

    async def _clone(self, git: _Git, target: Path, origin: str) -> str:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Put into place whole: an attempt that is cut off leaves nothing half done.
        with tempfile.TemporaryDirectory(
            prefix=".wfe-git-", dir=target.parent, ignore_cleanup_errors=True
        ) as private:
            fresh = Path(private) / "clone"
            await git(target.parent, "init", "--quiet", "--", str(fresh))
            await git(fresh, "config", "--local", "remote.origin.url", origin)
            fetch = "+refs/heads/*:refs/remotes/origin/*"
            await git(fresh, "config", "--local", "remote.origin.fetch", fetch)
            commit = await self._check_out(git, fresh)
            _put_into_place(fresh, target)
        return commit

    async def _check_out(self, git: _Git, clone: Path) -> str:
        wanted = await self._fetched(git, clone)
        await git(clone, "checkout", "--quiet", "--detach", wanted, "--")
        return (await git(clone, "rev-parse", "--verify", "HEAD^{commit}"))[0]

    async def _fetched(self, git: _Git, clone: Path) -> str:
        """Fetch what is wanted and return what git calls it."""
        depth = [] if self.depth is None else [f"--depth={self.depth}"]
        fetch = ("fetch", "--quiet", "--no-recurse-submodules", *depth)
        if self.commit is None:
            await git(clone, *fetch, "--", "origin", self.branch or "HEAD")
            return "FETCH_HEAD"
        commit = f"{self.commit.lower()}^{{commit}}"
        known = ("rev-parse", "--quiet", "--verify", commit)
        if await git.asked(clone, *known):
            return commit
        # Not every server gives single commits, and none knows shortened ones.
        if len(self.commit) >= _FULL:
            await git.asked(clone, *fetch, "--", "origin", self.commit)
            if await git.asked(clone, *known):
                return commit
        everything = [self.branch] if self.branch else []
        await git(clone, "fetch", "--quiet", "--tags", "--", "origin", *everything)
        if not await git.asked(clone, *known):
            raise GitUseError(f"the repository has no commit {self.commit}")
        return commit

    def _environment(self, url: str) -> dict[str, str]:
        asked = [name for name in self.env_from_host if not name.startswith(PREFIX)]
        names = (*_FROM_HOST, *asked)
        env = {name: os.environ[name] for name in names if name in os.environ}
        env.update(_QUIET)
        env.update({name: render_value(value) for name, value in self.env.items()})
        stripped = _without_credentials(url)
        if stripped != url:
            # Not as an argument, which every user of the machine could read.
            env["GIT_CONFIG_COUNT"] = "1"
            env["GIT_CONFIG_KEY_0"] = f"url.{url}.insteadOf"
            env["GIT_CONFIG_VALUE_0"] = stripped
        return env


def _put_into_place(fresh: Path, target: Path) -> None:
    if target.exists():  # and empty
        target.rmdir()
    fresh.rename(target)


def _absolute(url: str, workspace: Path) -> str:
    """Return a path as it is from everywhere; addresses stay."""
    if _SCHEME.match(url) or ":" in url.partition("/")[0]:
        return url
    return str((workspace / url).resolve())


def _credentials(url: str) -> str:
    return "" if _without_credentials(url) == url else urlsplit(url).netloc.rpartition("@")[0]


def _without_credentials(url: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@frozen
class _Git:
    ctx: StepExecutionContext[Any]
    env: Mapping[str, str]
    credentials: str
    grace: float

    async def __call__(self, where: Path, *arguments: str) -> list[str]:
        """Run git in *where* and return the lines that it wrote."""
        code, lines, said = await self._run(where, arguments, log=True)
        if code:
            reason = " ".join(said[-2:]) or f"exit code {code}"
            raise GitError(f"git {arguments[0]}", reason[:500])
        return lines

    async def asked(self, where: Path, *arguments: str) -> list[str] | None:
        """Run git to see whether it can do something; ``None``: it cannot."""
        code, lines, _ = await self._run(where, arguments, log=False)
        return None if code else lines

    async def _run(
        self, where: Path, arguments: Sequence[str], *, log: bool
    ) -> tuple[int, list[str], list[str]]:
        from wfe.yaml.process import run_process  # noqa: PLC0415 - as above

        program = shutil.which("git")
        if program is None:
            raise GitUseError("the program git is not installed (not found in PATH)")
        lines: list[str] = []
        said: list[str] = []

        def on_line(stream: str, line: str) -> None:
            line = line.replace(self.credentials, "***") if self.credentials else line
            if stream == "stdout":
                lines.append(line)
                return
            if line.strip():
                said.append(line)
            if log:
                self.ctx.log.line(stream, line)

        code = await run_process(
            [program, *_SAFE, *arguments],
            env=self.env,
            cwd=where,
            on_line=on_line,
            grace=self.grace,
            masks=self.ctx.masks,
            owner=f"step {self.ctx.pointer.step!r} of run {self.ctx.instance.id}",
        )
        return code, lines, said

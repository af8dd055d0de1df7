"""Every permission of the Deno step, tried to be broken by real scripts in real processes."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from deno_scripts import needs_deno
from deno_scripts import run as run_script
from step_contexts import Lines

from wfe.yaml.deno import DenoGrantError, DenoMemoryError, DenoScriptError

pytestmark = [
    needs_deno,
    pytest.mark.skipif(sys.platform == "win32", reason="needs process groups"),
]


async def run(workspace: Path, script: str, **fields: Any) -> tuple[dict[str, Any], Lines]:
    return await run_script(script, workspace=workspace, **fields)


async def refused(workspace: Path, script: str, **fields: Any) -> str:
    """Run what must throw; return the error's text."""
    with pytest.raises(DenoScriptError) as caught:
        await run(workspace, script, **fields)
    return str(caught.value)


class _Answer(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("=")[2])
            self.end_headers()
            return
        body = b"export const value = 42;"
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


@pytest.fixture
def server() -> Iterator[int]:
    _Answer.asked.clear()
    with HTTPServer(("127.0.0.1", 0), _Answer) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield httpd.server_address[1]
        httpd.shutdown()
        thread.join()


NOTHING_GRANTED = {
    "read a file": "Deno.readTextFileSync('/etc/passwd')",
    "read by node": "(await import('node:fs')).readFileSync('/etc/passwd')",
    "read the environment of the process": "Deno.readTextFileSync('/proc/self/environ')",
    "read memory": "Deno.openSync('/proc/self/mem')",
    "list descriptors": "[...Deno.readDirSync('/proc/self/fd')]",
    "list the workspace": "[...Deno.readDirSync('.')]",
    "write a file": "Deno.writeTextFileSync('x', 'y')",
    "make a temporary file": "Deno.makeTempFileSync()",
    "link": "Deno.symlinkSync('/etc', 'x')",
    "one variable": "Deno.env.get('HOME')",
    "all variables": "Deno.env.toObject()",
    "variables by node": "(await import('node:process')).default.env.HOME",
    "set a variable": "Deno.env.set('X', 'y')",
    "run a program": "new Deno.Command('/bin/true').outputSync()",
    "run by node": "(await import('node:child_process')).execSync('true')",
    "fetch": "await fetch('http://127.0.0.1:80/')",
    "connect": "await Deno.connect({hostname: '127.0.0.1', port: 80})",
    "listen": "Deno.listen({port: 0})",
    "listen by node": (
        "await new Promise((_, no) => import('node:net').then((net) =>"
        " net.default.createServer().on('error', no).listen(0)))"
    ),
    "resolve a name": "await Deno.resolveDns('example.com', 'A')",
    "a unix socket": "await Deno.connect({transport: 'unix', path: '/run/x.sock'})",
    "native code": "Deno.dlopen('libc.so.6', {})",
    "native code by node": "(await import('node:process')).default.dlopen({}, '/tmp/x.node')",
    "the host's name": "Deno.hostname()",
    "the user": "Deno.uid()",
    "memory of the machine": "Deno.systemMemoryInfo()",
    "kill the host": "Deno.kill(Deno.ppid, 'SIGTERM')",
    "kill by node": "(await import('node:process')).default.kill(1, 0)",
    "import a file": "await import('file:///etc/hosts.ts')",
    "import http": "await import('http://127.0.0.1:9/x.js')",
    "import https": "await import('https://deno.land/x.ts')",
    "import npm": "await import('npm:left-pad')",
    "import jsr": "await import('jsr:@std/path')",
    "the inspector": (
        "const { Session } = await import('node:inspector'); new Session().connect()"
    ),
    "readFile": "readFile('in/a.txt')",
    "ask for more": (
        "if ((await Deno.permissions.request({name: 'read'})).state !== 'granted')"
        " throw new Error('NotCapable')"
    ),
    "a worker with more": (
        "new Worker('data:text/javascript,0', {type: 'module', deno: {permissions: {read: true}}})"
    ),
}


@pytest.mark.parametrize("script", NOTHING_GRANTED.values(), ids=NOTHING_GRANTED)
async def test_without_grants_everything_is_refused(workspace: Path, script: str) -> None:
    told = await refused(workspace, script)

    assert any(
        word in told
        for word in (
            *("NotCapable", "Requires read access", "--no-remote", "--no-npm"),
            *("permission", "ERR_ACCESS_DENIED", "Can't escalate", "unstable"),
        )
    ), told


async def test_a_worker_inherits_what_is_granted_and_no_more(workspace: Path) -> None:
    script = """
    const code = `try { Deno.readTextFileSync('/etc/passwd'); postMessage('read') }
      catch (e) { postMessage(e.name) }`;
    const worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, {type: 'module'});
    output('said', await new Promise((yes) => worker.onmessage = (e) => yes(e.data)));
    worker.terminate();
    """

    made, _ = await run(workspace, script, permissions={"read": ["in"]}, memory="1GiB")

    assert made == {"said": "NotCapable"}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
async def test_a_worker_is_part_of_the_memory(workspace: Path) -> None:
    script = "new Worker('data:text/javascript,0', {type: 'module'})"

    with pytest.raises(DenoMemoryError, match="each web worker needs 512 MiB"):
        await run(workspace, script, memory="256MiB")


async def test_what_tells_nothing_of_the_machine_is_there(workspace: Path) -> None:
    made, _ = await run(workspace, "output('cwd', Deno.cwd())")

    assert str(workspace) not in made["cwd"]
    assert not Path(made["cwd"]).exists()


READS = {
    "granted": ("in/a.txt", None),
    "beside": ("other.txt", "NotCapable"),
    "up and beside": ("in/../other.txt", "NotCapable"),
    "out of the workspace": ("in/../../outside.txt", "NotCapable"),
    "a prefix of a granted name": ("in2/a.txt", "NotCapable"),
    "absolute": ("/etc/passwd", "NotCapable"),
}


@pytest.mark.parametrize(("path", "error"), READS.values(), ids=READS)
@pytest.mark.parametrize("call", ["Deno.readTextFileSync", "readFile"])
async def test_reads_stay_in_what_is_granted(
    workspace: Path, path: str, error: str | None, call: str
) -> None:
    (workspace / "in2").mkdir()
    (workspace / "in2" / "a.txt").write_text("no")
    script = f"output('text', {call}({path!r}))"
    fields = {"permissions": {"read": ["in"]}}
    if error is None:
        made, _ = await run(workspace, script, **fields)
        assert made == {"text": "inside"}
    else:
        assert error in await refused(workspace, script, **fields)


async def test_writes_stay_in_what_is_granted(workspace: Path) -> None:
    permissions = {"write": ["out"]}
    await run(
        workspace,
        "Deno.mkdirSync('out'); Deno.writeTextFileSync('out/a', 'x')",
        permissions=permissions,
    )

    assert (workspace / "out" / "a").read_text() == "x"
    for path in ("a", "out/../a", "../outside.txt", "/tmp/wfe-x", "in/a.txt"):
        told = await refused(
            workspace, f"Deno.writeTextFileSync({path!r}, 'x')", permissions=permissions
        )
        assert "NotCapable" in told, path
    assert "NotCapable" in await refused(
        workspace, "Deno.readTextFileSync('out/a')", permissions=permissions
    )
    assert (workspace.parent / "outside.txt").read_text() == "the secret"


async def test_the_state_of_runs_is_never_granted(workspace: Path) -> None:
    everything = {"read": ["."], "write": ["."]}
    for script in (
        "Deno.readTextFileSync('.wfe/wfe.db')",
        "Deno.writeTextFileSync('.wfe/wfe.db', 'forged')",
        "Deno.removeSync('.wfe', {recursive: true})",
        "Deno.renameSync('.wfe', 'moved')",
    ):
        assert "NotCapable" in await refused(workspace, script, permissions=everything), script
    assert (workspace / ".wfe" / "wfe.db").read_text() == "state"


@pytest.mark.parametrize("permission", ["read", "write"])
async def test_links_out_of_a_grant_are_refused_before_the_start(
    workspace: Path, permission: str
) -> None:
    (workspace / "in" / "deep").mkdir()
    (workspace / "in" / "deep" / "link").symlink_to(workspace.parent / "outside.txt")
    script = (
        "output('text', Deno.readTextFileSync('in/deep/link'))"
        if permission == "read"
        else "Deno.writeTextFileSync('in/deep/link', 'overwritten')"
    )
    fields = {"permissions": {permission: ["in"]}}

    with pytest.raises(
        DenoGrantError, match=r"links lead out of it: .*deep/link -> .*outside\.txt"
    ):
        await run(workspace, script, **fields)

    assert (workspace.parent / "outside.txt").read_text() == "the secret"
    made, _ = await run(workspace, script, allow_symlinks=True, **fields)
    assert made == ({"text": "the secret"} if permission == "read" else {})


async def test_links_that_stay_inside_a_grant_are_followed(workspace: Path) -> None:
    (workspace / "in" / "same").symlink_to("a.txt")
    (workspace / "named").symlink_to("in")

    made, _ = await run(
        workspace,
        "output('a', readFile('in/same')); output('b', readFile('named/a.txt'))",
        permissions={"read": ["in", "named"]},
    )

    assert made == {"a": "inside", "b": "inside"}


async def test_a_granted_name_that_is_a_link_out_of_the_workspace_is_refused(
    workspace: Path,
) -> None:
    (workspace / "data").symlink_to("/etc")

    with pytest.raises(DenoGrantError, match="leads out of the workspace"):
        await run(workspace, "0", permissions={"read": ["data"]})


async def test_a_script_cannot_make_links_itself(workspace: Path) -> None:
    for call in ("symlinkSync", "linkSync"):
        told = await refused(
            workspace,
            f"Deno.{call}('{workspace.parent}/outside.txt', 'in/l')",
            permissions={"read": ["in"], "write": ["in"]},
        )
        assert "NotCapable" in told


async def test_net_is_by_host_and_port(workspace: Path, server: int) -> None:
    other = socket.create_server(("127.0.0.1", 0))
    port = other.getsockname()[1]
    permissions = {"net": [f"127.0.0.1:{server}"]}

    made, _ = await run(
        workspace,
        f"output('text', await (await fetch('http://127.0.0.1:{server}/x')).text())",
        permissions=permissions,
    )

    assert made["text"].startswith("export")
    for target in (
        f"http://127.0.0.1:{port}/",
        f"http://localhost:{server}/",
        f"http://[::1]:{server}/",
        f"http://2130706433:{port}/",
        f"http://127.0.0.1:{server}/redirect?to=http://127.0.0.1:{port}/",
        f"http://127.0.0.1:{server}/redirect?to=file:///etc/passwd",
    ):
        told = await refused(workspace, f"await fetch({target!r})", permissions=permissions)
        assert "NotCapable" in told or "TypeError" in told, target
    other.settimeout(0)
    with pytest.raises(BlockingIOError):
        other.accept()
    other.close()


async def test_credentials_of_clouds_are_out_of_reach_by_any_name(workspace: Path) -> None:
    for host in ("169.254.169.254", "169.254.170.2", "[fd00:ec2::254]", "100.100.100.200"):
        with pytest.raises(DenoGrantError, match="hands out credentials"):
            await run(workspace, "0", permissions={"net": [host]})
    # Granted under a name that is written in another way, and denied by its address.
    for host in ("[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166"):
        told = await refused(
            workspace,
            f"await fetch('http://{host}/latest', {{signal: AbortSignal.timeout(2000)}})",
            permissions={"net": [host]},
        )
        assert "NotCapable" in told or "fetch failed" in told.lower(), told


async def test_only_named_variables_are_there(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFE_TEST_NAMED", "yes")
    monkeypatch.setenv("WFE_TEST_SECRET", "the secret")
    fields: dict[str, Any] = {"permissions": {"env": ["WFE_TEST_NAMED"]}, "env": {"OWN": 5}}

    made, _ = await run(
        workspace,
        "output('all', [Deno.env.get('WFE_TEST_NAMED'), Deno.env.get('OWN')])",
        **fields,
    )

    assert made == {"all": ["yes", "5"]}
    for name in ("WFE_TEST_SECRET", "PATH", "HOME", "DENO_DIR"):
        assert "NotCapable" in await refused(workspace, f"Deno.env.get('{name}')", **fields)


async def test_what_steers_deno_is_not_passed_on(workspace: Path, tmp_path: Path) -> None:
    env = {
        "LD_PRELOAD": str(tmp_path / "evil.so"),
        "DENO_DIR": str(tmp_path / "elsewhere"),
        "BASH_ENV": str(tmp_path / "evil.sh"),
        "FINE": "1",
    }

    made, lines = await run(workspace, "output('fine', Deno.env.get('FINE'))", env=env)

    assert made == {"fine": "1"}
    assert lines == []
    assert not (tmp_path / "elsewhere").exists()


async def test_programs_are_those_that_are_listed(workspace: Path) -> None:
    permissions = {"run": ["echo"]}
    made, _ = await run(
        workspace,
        "const r = new Deno.Command('echo', {args: ['hi; id', '$(id)']}).outputSync();"
        "output('said', new TextDecoder().decode(r.stdout))",
        permissions=permissions,
    )

    assert made == {"said": "hi; id $(id)\n"}
    for program in ("cat", "/bin/sh", "./in/x"):
        told = await refused(
            workspace, f"new Deno.Command({program!r}).outputSync()", permissions=permissions
        )
        assert "NotCapable" in told or "NotFound" in told
    told = await refused(
        workspace,
        "new Deno.Command('echo', {env: {LD_PRELOAD: '/tmp/x.so'}}).outputSync()",
        permissions=permissions,
    )
    assert "NotCapable" in told


@pytest.mark.parametrize(
    "permissions",
    [
        pytest.param({"net": True}, id="all of the net"),
        pytest.param({"read": True}, id="all files"),
        pytest.param({"write": True}, id="all writing"),
        pytest.param({"env": True}, id="all variables"),
        pytest.param({"run": True}, id="all programs"),
        pytest.param({"ffi": True}, id="native code"),
        pytest.param({"net": ["a.com,b.com"]}, id="a comma in a host"),
        pytest.param({"net": ["http://a.com"]}, id="a URL"),
        pytest.param({"net": ["a.com --allow-all"]}, id="a flag in a host"),
        pytest.param({"net": [""]}, id="an empty host"),
        pytest.param({"read": [""]}, id="an empty path"),
        pytest.param({"read": ["../x"]}, id="out of the workspace"),
        pytest.param({"read": ["a/../../x"]}, id="out of the workspace, later"),
        pytest.param({"env": ["A,B"]}, id="a comma in a variable"),
        pytest.param({"env": ["LD_PRELOAD"]}, id="a variable of the loader"),
        pytest.param({"env": ["DENO_DIR"]}, id="a variable of Deno"),
        pytest.param({"env": ["WFE_SECRET_TOKEN"]}, id="a secret of the host"),
        pytest.param({"run": ["sh -c"]}, id="arguments"),
        pytest.param({"run": ["../evil"]}, id="a program outside"),
        pytest.param({"dynamic_import": True}, id="code from nowhere"),
    ],
)
async def test_permissions_that_mean_more_than_they_say_are_refused(
    workspace: Path, permissions: dict[str, Any]
) -> None:
    with pytest.raises(DenoGrantError):
        await run(workspace, "0", permissions=permissions)


async def test_a_comma_in_a_path_grants_nothing_else(workspace: Path) -> None:
    (workspace / "in,other.txt").mkdir()

    with pytest.raises(DenoGrantError, match=r"no comma in .*rename it"):
        await run(workspace, "0", permissions={"read": ["in,other.txt"]})

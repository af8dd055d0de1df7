"""Modules of Deno steps: fetched once, from where the step lists, and offline afterwards."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
import threading
from pathlib import Path

import pytest
from deno_scripts import needs_deno, run

from wfe.yaml.deno import (
    DenoScriptError,
    DenoStartError,
    binary,
)
from wfe.yaml.deno.modules import cached_modules, import_hosts, module_home

pytestmark = pytest.mark.usefixtures("cache")


def publish(root: Path, site: str) -> None:
    """Put the npm package pad-it on the site."""
    package = b'{"name": "pad-it", "version": "1.0.0", "main": "index.js"}'
    code = b"module.exports = (text) => text.padStart(4);"
    with tarfile.open(root / "pad-it.tgz", "w:gz") as archive:
        for name, content in (("package.json", package), ("index.js", code)):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha512((root / "pad-it.tgz").read_bytes()).digest()
    dist = {
        "tarball": f"{site}/pad-it.tgz",
        "integrity": f"sha512-{base64.b64encode(digest).decode()}",
    }
    versions = {"1.0.0": {"name": "pad-it", "version": "1.0.0", "dist": dist}}
    told = {"name": "pad-it", "dist-tags": {"latest": "1.0.0"}, "versions": versions}
    (root / "pad-it").write_text(json.dumps(told))


@needs_deno
class TestModules:
    async def test_modules_are_fetched_once_and_then_offline(
        self, site: str, tmp_path: Path
    ) -> None:
        modules = [f"{site}/mod.ts"]
        script = f"import {{ sum }} from '{site}/mod.ts'; output('sum', sum(inputs().n))"

        made, _ = await run(script, modules=modules, inputs={"n": 1})
        shutil.rmtree(tmp_path / "site")
        again, _ = await run(script, modules=modules, inputs={"n": 2})

        assert (made, again) == ({"sum": 21}, {"sum": 22})

    async def test_jsr_packages_come_from_their_registry(
        self, site: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JSR_URL", site)
        modules = ["jsr:@std/x@1"]
        script = "import { twice } from 'jsr:@std/x@1'; output('n', twice(4))"

        assert (await run(script, modules=modules))[0] == {"n": 8}
        with pytest.raises(DenoScriptError, match="--no-remote"):
            await run(script)

    async def test_npm_packages_come_from_their_registry(
        self, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{site}/")
        publish(tmp_path / "site", site)
        modules = ["npm:pad-it@1.0.0"]
        script = "import pad from 'npm:pad-it@1.0.0'; output('text', pad('a'))"

        made, _ = await run(script, modules=modules)
        (tmp_path / "site" / "pad-it.tgz").unlink()
        (tmp_path / "site" / "pad-it").unlink()

        assert made == (await run(script, modules=modules))[0] == {"text": "   a"}
        with pytest.raises(DenoScriptError, match="--no-npm"):
            await run(script)

    async def test_a_step_imports_what_it_lists_and_no_more(self, site: str) -> None:
        await run("0", modules=[f"{site}/other.ts"])

        for script in (f"import '{site}/other.ts'", f"await import('{site}/other.ts')"):
            with pytest.raises(DenoScriptError, match="not found in cache"):
                await run(script, modules=[f"{site}/mod.ts"])
            with pytest.raises(DenoScriptError, match="--no-remote"):
                await run(script)

    async def test_modules_grant_no_network(self, site: str) -> None:
        with pytest.raises(DenoScriptError, match="NotCapable"):
            await run(f"await fetch('{site}/mod.ts')", modules=[f"{site}/mod.ts"])

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("none.ts", "cannot be fetched: Module not found"),
            ("far.ts", 'Requires import access to "localhost:9"'),
        ],
    )
    async def test_what_cannot_be_fetched_is_told(
        self, site: str, name: str, problem: str, cache: Path
    ) -> None:
        modules = [f"{site}/{name}"]

        with pytest.raises(DenoStartError, match=f"(?s){problem}"):
            await run("0", modules=modules)

        assert not module_home(modules).exists()
        assert list((cache / "modules").iterdir()) == []

    async def test_a_module_is_not_a_file(self) -> None:
        with pytest.raises(DenoStartError, match="not a module of the network"):
            await run("0", modules=["file:///etc/passwd"])

    async def test_dynamic_import_fetches_from_granted_hosts_alone(self, site: str) -> None:
        script = f"output('n', (await import('{site}/mod.ts')).sum(1))"
        host = site.removeprefix("http://")

        made, _ = await run(script, permissions={"net": [host], "dynamic_import": True})

        assert made == {"n": 21}
        with pytest.raises(DenoScriptError, match="--no-remote"):
            await run(script, permissions={"net": [host]})
        with pytest.raises(DenoScriptError, match="Requires import access"):
            await run(script, permissions={"net": ["example.com"], "dynamic_import": True})

    def test_two_at_once_share_one_cache(self, site: str) -> None:
        modules = [f"{site}/mod.ts", f"{site}/other.ts"]
        program = binary.find_deno()
        assert program is not None

        homes: list[Path] = []

        def fetch(program: str) -> None:
            homes.append(cached_modules(program, modules))

        threads = [threading.Thread(target=fetch, args=(program,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert set(homes) == {module_home(modules)}
        assert [home.name for home in module_home(modules).parent.iterdir()] == [homes[0].name]

    def test_hosts_of_modules(self) -> None:
        modules = ["https://a.com/x.ts", "http://me:pw@b.com:8080/y.ts", "npm:x@1", "jsr:@std/path"]

        assert import_hosts(modules) == ("a.com", "b.com:8080", "jsr.io")

"""The keys `cache` and `artifacts` of workflow files: what is checked, and what they do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wfe.core.cache_index import CacheEntry
from wfe.core.definition import Cel, Value
from wfe.core.memory import MemoryStore
from wfe.host import WorkflowHost
from wfe.yaml import WorkflowFileError, load_workflows

STEP = """
workflow:
  id: w
  version: 1
  inputs: {{who: {{type: string, default: me}}, n: {{type: integer, default: 1}}}}
  steps:
    - name: Work
      run: echo ran >> ran.log
      {rest}
"""


def _load(directory: Path, rest: str) -> Any:
    path = directory / "w.yaml"
    path.write_text(STEP.format(rest=rest))
    (definition,) = load_workflows(path)
    return definition


def _problems(directory: Path, rest: str) -> list[tuple[str, str]]:
    with pytest.raises(WorkflowFileError) as raised:
        _load(directory, rest)
    return [(each.code, each.message) for each in raised.value.diagnostics]


def test_all_of_cache_is_read(tmp_path: Path) -> None:
    definition = _load(
        tmp_path,
        'cache: {key: "${{ inputs.n }}", inputs: false, files: [src/**, "!${{ inputs.who }}"],'
        " ttl: 2h, env: [CC], platform: true, salt: v2}",
    )

    cache = definition.root.nodes[0].cache

    assert cache.key == Cel("inputs.n")
    assert (cache.inputs, cache.platform, cache.salt) == (False, True, "v2")
    assert (cache.ttl, cache.env) == (7_200_000_000, ("CC",))
    assert cache.files[0] == Value("src/**")


@pytest.mark.parametrize(("text", "on"), [("cache: true", True), ("cache: false", False)])
def test_the_short_form(tmp_path: Path, text: str, on: bool) -> None:
    assert (_load(tmp_path, text).root.nodes[0].cache is not None) is on


WRONG = [
    ("cache: 5", "WFE011", "`cache` is true or false"),
    ("cache: [a]", "WFE011", "`cache`"),
    ("cache: {keys: a}", "WFE012", "`cache` has no key `keys`"),
    ("cache: {ttl: 0s}", "WFE015", "`ttl` is longer than 0"),
    ("cache: {ttl: soon}", "WFE016", "`ttl` is a duration"),
    ("cache: {files: /etc/passwd}", "WFE121", "is absolute"),
    ("cache: {files: [5]}", "WFE011", "a pattern of files is a text"),
    ('cache: {files: "${{ inputs.n }}"}', "WFE035", "a pattern of files is a text, not an integer"),
    ("cache: {env: [A-B]}", "WFE020", "`A-B` is no name"),
    ('cache: {key: "${{ inputs.m }}"}', "WFE032", "no input `m`"),
    ('cache: {key: "${{ secrets.token }}"}', "WFE090", "secret"),
    ("artifacts: [a]", "WFE011", "`artifacts`"),
    ("artifacts: {uploads: []}", "WFE012", "`artifacts` has no key `uploads`"),
    ("artifacts: {upload: [{name: a}]}", "WFE013", "an upload needs `path`"),
    ("artifacts: {upload: [{path: a}]}", "WFE013", "an upload needs `name`"),
    ("artifacts: {upload: [{name: a/b, path: a}]}", "WFE020", "cannot be called `a/b`"),
    ("artifacts: {upload: [{name: a, path: ../a}]}", "WFE121", "has '..'"),
    ("artifacts: {upload: [{name: a, path: a}, {name: a, path: b}]}", "WFE018", "two artifacts"),
    ('artifacts: {upload: [{name: "${{ inputs.n }}", path: a}]}', "WFE035", "not an integer"),
    ("artifacts: {download: [{path: a}]}", "WFE013", "a download needs `name`"),
    ("artifacts: {download: [{name: a, path: /tmp}]}", "WFE121", "is absolute"),
    ("artifacts: {download: [[a]]}", "WFE011", "the name of an artifact is a text"),
]


@pytest.mark.parametrize(("rest", "code", "message"), WRONG)
def test_what_is_wrong_is_told(tmp_path: Path, rest: str, code: str, message: str) -> None:
    problems = _problems(tmp_path, rest)

    assert [found for found, _ in problems] == [code]
    assert message in problems[0][1]


# -- runs -----------------------------------------------------------------------------------------


async def _run(store: MemoryStore, path: Path, **inputs: Any) -> Any:
    async with WorkflowHost(store, secrets={"token": "hunter22"}) as host:
        (definition,) = load_workflows(path)
        run = await host.start_workflow(definition, {"inputs": inputs})
        ended = await run.wait(20)
        lines = [line.line for line in await host.logs(run.id)]
        return ended, lines, await host.cache.find()


LOOP = """
workflow:
  id: loop
  version: 1
  steps:
    - name: Each
      for_each: "['a', 'b', 'a']"
      sequential: true
      do:
        - name: Work
          run: |
            echo ${{ item }} >> ran.log
            echo "made=$(echo ${{ item }} | tr a-z A-Z)" >> "$WFE_OUTPUT"
          outputs: {made: string}
          cache: true
        - name: Use
          run: echo got ${{ steps.Work.outputs.made }}
"""


async def test_rounds_of_a_loop_share_results(tmp_path: Path) -> None:
    path, store = tmp_path / "w.yaml", MemoryStore()
    path.write_text(LOOP)

    kept: list[int] = []
    for _ in range(2):
        ended, lines, entries = await _run(store, path)
        assert ended.status == "complete", ended.error
        assert [line for line in lines if line.startswith("got")] == ["got A", "got B", "got A"]
        kept.append(len(entries))

    assert (tmp_path / "ran.log").read_text().split() == ["a", "b"]
    assert kept == [2, 2]


BUILD = """
workflow:
  id: build
  version: 1
  inputs: {name: {type: string, default: dist}}
  steps:
    - name: Build
      run: mkdir -p dist/sub; cp src/a.txt dist/sub/; echo ran >> ran.log; echo ${#TOKEN}
      secrets: {TOKEN: token}
      cache:
        files: [src]
      artifacts:
        upload:
          - name: ${{ inputs.name }}
            path: [dist/**, "!dist/**/*.tmp"]
    - name: Use
      run: cat got/dist/sub/a.txt dist/sub/a.txt
      artifacts:
        download:
          - name: ${{ inputs.name }}
            path: got
"""


async def test_a_hit_puts_the_files_back(tmp_path: Path) -> None:
    path, store = tmp_path / "w.yaml", MemoryStore()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.txt").write_text("one\n")
    path.write_text(BUILD)
    kept = f"file://{tmp_path}/kept"

    entries: Sequence[CacheEntry] = ()
    for text in ("one", "one", "two"):
        (tmp_path / "src" / "a.txt").write_text(f"{text}\n")
        for place in ("dist/sub/a.txt", "got/dist/sub/a.txt"):
            (tmp_path / place).unlink(missing_ok=True)
        async with WorkflowHost(store, secrets={"token": "hunter22"}, artifacts=kept) as host:
            (definition,) = load_workflows(path)
            run = await host.start_workflow(definition, {"inputs": {"name": "dist"}})
            ended = await run.wait(20)
            assert ended.status == "complete", ended.error
            lines = [line.line for line in await host.logs(run.id) if line.step == "Use"]
            entries = await host.cache.find()
        assert lines == [text, text]

    assert (tmp_path / "ran.log").read_text().split() == ["ran", "ran"]
    assert len(entries) == 2
    for entry in entries:
        assert "hunter22" not in entry.document + entry.result


@pytest.mark.parametrize(
    "name", ["../evil", "a/b", "", "-x", "a b", "a\nb", "x" * 200, "sha256:" + "0" * 64]
)
async def test_hostile_names_fail_the_step(tmp_path: Path, name: str) -> None:
    path = tmp_path / "w.yaml"
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.txt").write_text("one\n")
    path.write_text(BUILD)

    ended, _, entries = await _run(MemoryStore(), path, name=name)

    assert ended.status == "failed"
    assert "a name has letters" in ended.error.message
    assert list(entries) == []


@pytest.mark.parametrize("place", ["../out", "/tmp/out", "link/out"])
async def test_hostile_places_fail_the_step(tmp_path: Path, place: str) -> None:
    work = tmp_path / "work"
    (work / "src").mkdir(parents=True)
    (work / "link").symlink_to(tmp_path)
    path = work / "w.yaml"
    path.write_text(
        BUILD.replace("path: got", "path: ${{ inputs.place }}").replace(
            "inputs: {", "inputs: {place: string, "
        )
    )
    (work / "src" / "a.txt").write_text("one\n")

    ended, _, _ = await _run(MemoryStore(), path, name="dist", place=place)

    assert ended.status == "failed"
    assert "leads out of the workspace" in ended.error.message
    assert not (tmp_path / "out").exists()


async def test_an_upload_without_files_fails_the_step(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(STEP.format(rest="artifacts: {upload: [{name: a, path: dist/**}]}"))

    ended, _, _ = await _run(MemoryStore(), path, who="me", n=1)

    assert ended.status == "failed"
    assert "fits dist/**" in ended.error.message

"""What the command refuses, with the exact message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["run", "hell.yaml"],
            "error: there is no file 'hell.yaml'\n  did you mean 'hello.yaml'?\n",
        ),
        (["run", "."], "error: '.' is a directory\n  name a workflow file in it\n"),
        (
            ["run", "effects.txt"],
            "error: there is no file 'effects.txt'\n  check the path\n",
        ),
        (
            ["run", "hello.yaml", "--workflow", "helo"],
            "error: 'hello.yaml' has no workflow 'helo'\n  did you mean 'hello'?\n",
        ),
        (
            ["run", "hello.yaml", "-i", "who"],
            "error: -i 'who' has no value\n  write it as -i name=value\n",
        ),
        (
            ["run", "hello.yaml", "-i", "whom=x"],
            (
                "error: workflow hello: there is no input 'whom'; did you mean who?\n"
                '  inputs of workflow hello:\n    who: string = "world"\n    times: integer = 1\n'
            ),
        ),
        (
            ["run", "hello.yaml", "-i", "times=x"],
            (
                "error: inputs.times: expected an integer, got a text ('x')\n"
                '  inputs of workflow hello:\n    who: string = "world"\n    times: integer = 1\n'
            ),
        ),
        (
            ["run", "hello.yaml", "--input-file", "no.json"],
            "error: the input file 'no.json' cannot be read: No such file or directory\n",
        ),
        (
            ["run", "hello.yaml", "--input-file", "hello.txt"],
            "error: the input file 'hello.txt' cannot be read: No such file or directory\n",
        ),
        (
            ["run", "hello.yaml", "--db", "runs.db"],
            "error: host: 'runs.db' is no URL; write for example sqlite:///runs.db or memory://\n",
        ),
        (
            ["run", "cli_orders:ordr"],
            "error: module 'cli_orders' has no 'ordr'\n  did you mean cli_orders:order?\n",
        ),
        (
            ["run", "cli_orders:number"],
            (
                "error: 'cli_orders:number': cannot register 1: expected a WorkflowDefinition,"
                " something with build(), or a module that holds one\n"
                "  assign the result of .build() to a name at the top level of the module\n"
            ),
        ),
        (
            ["run", "no_such_module:x"],
            (
                "error: 'no_such_module' cannot be imported:"
                " ModuleNotFoundError: No module named 'no_such_module'\n"
            ),
        ),
        (
            ["run", "hello.yaml", "--resume", "last", "-i", "who=x"],
            (
                "error: a run keeps the inputs and the name that it began with\n"
                "  leave out -i, --input-file and --name with --resume\n"
            ),
        ),
        (
            ["publish", "x", "--data", "{"],
            (
                "error: --data is not JSON: Expecting property name enclosed in double quotes:"
                " line 1 column 2 (char 1)\n"
                """  quote texts, for example --data '"yes"' or '{"by": "me"}'\n"""
            ),
        ),
        (
            ["logs", "last", "--grep", "("],
            (
                "error: --grep '(' is not a regular expression:"
                " missing ), unterminated subpattern at position 0\n"
                "  escape characters such as ( [ * with a backslash\n"
            ),
        ),
    ],
    ids=str,
)
def test_errors_say_what_where_and_what_to_do(wfe: Wfe, args: list[str], message: str) -> None:
    assert wfe(*args) == (2, "", message)


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--resume", "last"],
        ["list"],
        ["show", "last"],
        ["logs", "last"],
        ["history", "last"],
        ["suspend", "last"],
        ["resume", "last"],
        ["terminate", "last"],
        ["publish", "x"],
        ["graph", "last"],
    ],
    ids=lambda args: args[0],
)
def test_a_store_that_is_not_there_is_not_made(wfe: Wfe, folder: Path, args: list[str]) -> None:
    before = sorted(folder.iterdir())

    ended = wfe(*args, "--db", "sqlite:///gone.db")

    assert ended.code == 2
    assert ended.err == (
        "error: there is no store at 'gone.db'\n"
        "  run a workflow first, or name another store with --db\n"
    )
    assert sorted(folder.iterdir()) == before


def test_a_store_in_memory_has_no_runs(wfe: Wfe) -> None:
    assert wfe("list", "--db", "memory://") == (
        2,
        "",
        (
            "error: the store memory:// lives in the memory of one process and has no runs\n"
            "  name a store that is kept, for example --db sqlite:///runs.db\n"
        ),
    )


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "abc",
            (
                "error: no run has the id or name 'abc' in this store\n"
                "  the beginning of an id must have at least 4 characters;"
                " list the runs with: wfe list\n"
            ),
        ),
        (
            "nothing",
            (
                "error: no run has the id or name 'nothing' in this store,"
                " or an id that begins so\n"
                "  list the runs with: wfe list\n"
            ),
        ),
    ],
)
def test_an_unknown_run(wfe: Wfe, reference: str, message: str) -> None:
    wfe("run", "hello.yaml")

    assert wfe("show", reference) == (2, "", message)


def test_an_ambiguous_beginning(wfe: Wfe) -> None:
    run = wfe("run", "hello.yaml").run
    wfe("run", "hello.yaml")

    ended = wfe("show", run[:4])

    assert ended.code == 2
    assert ended.err.startswith(f"error: 2 runs have an id that begins with {run[:4]!r}: ")
    assert ended.err.endswith("\n  give more characters\n")


def test_a_final_run_takes_no_orders(wfe: Wfe) -> None:
    run = wfe("run", "hello.yaml").run

    assert wfe("suspend", run) == (2, "", f"error: cannot suspend run {run!r}: it is complete\n")


def test_a_taken_name_is_refused(wfe: Wfe) -> None:
    wfe("run", "hello.yaml", "--name", "nightly")

    assert wfe("run", "hello.yaml", "--name", "nightly") == (
        2,
        "",
        "error: a workflow run named 'nightly' exists already; names are unique in a store\n",
    )


def test_an_invalid_file_is_told_in_full_and_makes_no_store(wfe: Wfe, folder: Path) -> None:
    (folder / "bad.yaml").write_text("x: 1\n")

    ended = wfe("run", "bad.yaml")

    assert (ended.code, ended.out) == (2, "")
    assert "bad.yaml:1:1: error[WFE012]: a workflow file has no key `x`\n" in ended.err
    assert "bad.yaml:1:1: error[WFE013]" in ended.err
    assert not (folder / ".wfe").exists()


def test_several_workflows_need_a_choice(wfe: Wfe, folder: Path) -> None:
    two = "workflows:\n" + "".join(
        f"  - {{id: {name}, version: 1, steps: [{{name: a, run: echo a}}]}}\n" for name in "xy"
    )
    (folder / "two.yaml").write_text(two)

    assert wfe("run", "two.yaml") == (
        2,
        "",
        "error: 'two.yaml' has several workflows: x, y\n  choose one with --workflow ID\n",
    )


def test_code_that_is_not_here_is_named(wfe: Wfe, folder: Path) -> None:
    (folder / "cli_orders.py").write_text(
        (folder / "cli_orders.py")
        .read_text()
        .replace(
            'Node(name="check", kind=Kind.STEP),',
            'Node(name="w", kind=Kind.WAIT_FOR, config={"event": "go"}),',
        )
        .replace('"check/body": check, ', "")
    )
    run = wfe("run", "cli_orders.py").run

    ended = wfe("run", "--resume", run)

    assert ended == (
        2,
        "",
        (
            "error: the code of workflow 'order' is missing here: charge/body\n"
            "  name the file or module it came from: wfe run package.module:NAME --resume RUN\n"
        ),
    )
    wfe("publish", "go")
    assert wfe("run", "cli_orders.py", "--resume", run).code == 0


def test_a_file_of_another_workflow_cannot_resume_a_run(wfe: Wfe) -> None:
    run = wfe("run", "gate.yaml").run

    assert wfe("run", "hello.yaml", "--resume", run) == (
        2,
        "",
        (
            f"error: 'hello.yaml' has no workflow 'gate', which run {run} follows\n"
            "  its workflows: hello; leave FILE out, or name the right one\n"
        ),
    )


def test_a_broken_module_is_told_with_its_line(wfe: Wfe, folder: Path) -> None:
    (folder / "cli_broken.py").write_text("x = 1\nimport cli_not_there\n")

    ended = wfe("run", "cli_broken.py")

    assert ended.code == 2
    assert ended.err == (
        "error: 'cli_broken.py' cannot be imported: ModuleNotFoundError:"
        f" No module named 'cli_not_there' (at {folder / 'cli_broken.py'}:2)\n"
    )

"""Annotations, groups, progress and summaries: shown, bounded, and never state."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.yaml.annotations import Annotations, read_annotation
from wfe.yaml.output_log import OutputLog
from wfe.yaml.private_files import PrivateFileError, read_private
from wfe.yaml.summaries import summary_lines


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("##wfe[group Build it]", ("group", "Build it")),
        ("##wfe[endgroup]", ("endgroup", "")),
        ("##wfe[warning a [b] c]", ("annotation", {"level": "warning", "message": "a [b] c"})),
        ("##wfe[error   x ]  ", ("annotation", {"level": "error", "message": "x"})),
        ("##wfe[notice 100%25]", ("annotation", {"level": "notice", "message": "100%25"})),
        ("##wfe[progress 40 half way]", ("progress", {"percent": 40, "message": "half way"})),
        ("##wfe[progress 12.5%]", ("progress", {"percent": 12.5, "message": ""})),
        ("##wfe[progress 100]", ("progress", {"percent": 100, "message": ""})),
        ("::group::Title%0Amore", ("group", "Title more")),
        ("::endgroup::", ("endgroup", "")),
        (
            "::warning file=app.py,line=3,endLine=4,col=5,endColumn=7,title=A%2C B%3A C::m%0An %25",
            (
                "annotation",
                {
                    "level": "warning",
                    "message": "m\nn %",
                    "file": "app.py",
                    "line": 3,
                    "end_line": 4,
                    "col": 5,
                    "end_col": 7,
                    "title": "A, B: C",
                },
            ),
        ),
        ("  ::error::why", ("annotation", {"level": "error", "message": "why"})),
        (
            "::error file=,line=x,line=99999999999,other=1::m",
            ("annotation", {"level": "error", "message": "m"}),
        ),
        ("::notice::", ("annotation", {"level": "notice", "message": ""})),
    ],
)
def test_lines_that_mean_something(line: str, found: tuple[str, object]) -> None:
    stream, text = read_annotation(line) or ("", "")

    assert stream == found[0]
    assert (text if isinstance(found[1], str) else json.loads(text)) == found[1]


@pytest.mark.parametrize(
    "line",
    [
        "plain",
        "a ##wfe[warning x]",
        "##wfe[warning]",
        "##wfe[group]",
        "##wfe[endgroup x]",
        "##wfe[progress]",
        "##wfe[progress x]",
        "##wfe[progress 101 x]",
        "##wfe[progress -1]",
        "##wfe[progress nan]",
        "##wfe[output a=1]",
        "##wfe[mask x]",
        "::set-output name=a::1",
        "::set-env name=PATH::/x",
        "::add-mask::x",
        "::add-path::/x",
        "::stop-commands::x",
        "::warningfile=a::x",
        "::warning",
        "::Warning::x",
        "std::string::x",
        "##[group]x",
    ],
)
def test_plain_lines(line: str) -> None:
    assert Annotations().read(line) is None


@given(
    st.text(max_size=80), st.sampled_from(["##wfe[warning {}]", "::error {}::{}", "{}::x", "{}"])
)
def test_whatever_is_printed_is_read_without_a_crash(text: str, form: str) -> None:
    found = Annotations().read(form.replace("{}", text))

    assert found is None or found[0] in {"annotation", "group", "endgroup", "progress"}


def test_annotations_are_bounded() -> None:
    annotations = Annotations(left=2)

    kinds = [annotations.read(f"::error::{n}") is not None for n in range(4)]

    assert kinds == [True, True, False, False]
    assert annotations.read("::group::still") is not None
    _, text = read_annotation("::error title=" + "t" * 9000 + "::" + "\u0001" * 9000) or ("", "")
    assert len(text) <= 16_000
    assert 1000 < len(json.loads(text)["message"]) <= 3001


def lines_of(count: int, most_bytes: int, most_lines: int, width: int = 10) -> list[str]:
    written: list[str] = []
    log = OutputLog(lambda stream, line: written.append(f"{stream}:{line}"), most_bytes, most_lines)
    for number in range(count):
        log.line("stdout", f"{number:0{width}d}")
    log.close()
    return written


def test_a_short_log_is_whole() -> None:
    assert len(lines_of(87, 10_000, 100)) == 87


def test_of_a_long_log_the_beginning_and_the_end_are_kept() -> None:
    written = lines_of(1000, 10**9, 80)

    assert written[69] == "stdout:0000000069"
    assert written[70].startswith("warning:the output is longer than 80 lines or 1,000,000,000")
    assert written[71] == "warning:920 lines (9,200 bytes) are left out here"
    assert written[72:] == [f"stdout:{number:010d}" for number in range(990, 1000)]


def test_a_log_is_limited_by_bytes_as_well() -> None:
    written = lines_of(1000, 8000, 10**6)

    assert 690 < len(written) < 730
    assert written[-1] == "stdout:0000000999"


def test_nothing_is_said_to_be_lost_that_is_not() -> None:
    written = lines_of(75, 10**9, 80)

    assert [line for line in written if "left out" in line] == []
    assert [line for line in written if line.startswith("stdout")] == [
        f"stdout:{number:010d}" for number in range(75)
    ]


def test_a_summary_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_bytes(b"# Title\r\n\n| a |\n" + b"x" * 40_000 + b"\n\xff\0")

    lines, warning = summary_lines(path, 100_000, None)

    assert lines[:3] == ["# Title", "", "| a |"]
    assert [len(line) for line in lines[3:6]] == [16_000, 16_000, 8_000]
    assert lines[6] == "\ufffd\ufffd"
    assert warning is None


def test_a_summary_is_bounded_and_never_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    path.write_text("y\n" * 1000)

    lines, warning = summary_lines(path, 100, None)
    assert (len(lines), warning) == (
        50,
        "the summary in $WFE_SUMMARY is cut: it has more than 100 bytes",
    )
    path.unlink()
    assert summary_lines(path, 100, None) == (
        [],
        "the summary in $WFE_SUMMARY is not shown: it cannot be read: No such file or directory",
    )


def test_a_private_file_is_that_very_file(tmp_path: Path) -> None:
    path, other = tmp_path / "f", tmp_path / "other"
    other.write_text("of somebody else")

    def problem() -> str:
        with pytest.raises(PrivateFileError) as raised:
            read_private(path, 100)
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
        return str(raised.value)

    path.symlink_to(other)
    assert "cannot be read" in problem()
    os.link(other, path)
    assert problem() == "it was replaced by something else"
    os.mkfifo(path)
    assert problem() == "it was replaced by something else"
    path.mkdir()
    assert problem() == "it was replaced by something else"
    path.symlink_to("/dev/zero")
    assert "cannot be read" in problem()
    path.write_bytes(b"12345")
    assert (read_private(path, 5), read_private(path, 4)) == ((b"12345", True), (b"1234", False))

"""The scanner of shell quoting agrees with what a shell does."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfe.yaml.shell_quoting import HOLE, places


@pytest.mark.parametrize(
    ("script", "contexts"),
    [
        ("echo @", "UNQUOTED"),
        ('echo "a @"', "DOUBLE"),
        ("echo '@'", "SINGLE"),
        ("echo 'a' @ 'b'", "UNQUOTED"),
        ('echo "it\'s @"', "DOUBLE"),
        ("echo '\"' @", "UNQUOTED"),
        ("cat <<E\nx @\nE\necho @", "HEREDOC UNQUOTED"),
        ("cat <<'E'\nx @\nE\necho @", "QUOTED_HEREDOC UNQUOTED"),
        ("cat <<\\E\n@\nE\n", "QUOTED_HEREDOC"),
        ('cat <<"E F"\n@\nE F\n@', "QUOTED_HEREDOC UNQUOTED"),
        ("cat <<-E\n\t@\n\tE\necho '@'", "HEREDOC SINGLE"),
        ("cat <<A <<'B'\n@\nA\n@\nB\n@", "HEREDOC QUOTED_HEREDOC UNQUOTED"),
        ("cat <<E\n$(echo '@' @) \"@\" '@'\nE\n", "SINGLE UNQUOTED HEREDOC HEREDOC"),
        ("cat <<E\n@", "HEREDOC"),
        ("cat <<@\nx\n", "DELIMITER"),
        ("cat <<< @", "UNQUOTED"),
        ("# it's @\necho @ # '@", "COMMENT UNQUOTED COMMENT"),
        ("echo a#@", "UNQUOTED"),
        ('echo "$(ls @ "@")" @', "UNQUOTED DOUBLE UNQUOTED"),
        ("x=`echo @`; echo '@'", "UNQUOTED SINGLE"),
        ('x=$(case $1 in a) echo @;; esac); echo "@"', "UNQUOTED DOUBLE"),
        ("x=$((1 + @))", "ARITHMETIC"),
        ("(( x + @ ))", "ARITHMETIC"),
        ("echo $((1)) '@'", "SINGLE"),
        ("(cd @); a=(x @)", "UNQUOTED UNQUOTED"),
        ("echo \\@", "ESCAPED"),
        ('echo "\\@"', "ESCAPED"),
        ("echo \\' @", "UNQUOTED"),
        ('echo "${x:-@}" ${y:-@} ${@}', "DOUBLE UNQUOTED PARAMETER"),
        ("echo \"${a#'@'}\"", "DOUBLE"),
        ("echo $'a\\'@' @", "ANSI UNQUOTED"),
        ('echo $"@"', "DOUBLE"),
        ("echo ${#a} @ $# @", "UNQUOTED UNQUOTED"),
        ("echo '@", "SINGLE"),
    ],
)
def test_context_of_each_place(script: str, contexts: str) -> None:
    found = places(script.replace("@", HOLE))

    assert " ".join(place.context.name for place in found) == contexts


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="@'\"\\$(){}`<E\n# ;a-=", max_size=60))
def test_every_hole_is_found_once_whatever_the_script(script: str) -> None:
    script = script.replace("@", HOLE)

    offsets = sorted(place.offset for place in places(script))

    assert offsets == [i for i, char in enumerate(script) if char == HOLE]


REFERENCES = {"UNQUOTED": '"${V}"', "DOUBLE": "${V}", "HEREDOC": "${V}"}
HOSTILE = "$(echo pwned) `echo pwned` \"; echo pwned; ' $V \\ * \t x"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    "script",
    [
        "printf %s @",
        'printf %s "@"',
        "cat <<E\n@\nE",
        'printf %s "$(printf %s @)"',
        'x=@; printf %s "$x"',
        'printf %s "${none:-@}"',
        "printf %s ${none:-@}",
        'case @ in *) printf %s "@";; esac',
        "cat <<E\n$(printf %s @)\nE",
    ],
)
def test_what_the_scanner_writes_keeps_a_hostile_value_as_it_is(script: str) -> None:
    holes = script.replace("@", HOLE)
    found = {place.offset: place.context.name for place in places(holes)}
    code = "".join(REFERENCES[found[i]] if i in found else c for i, c in enumerate(holes))

    done = subprocess.run(
        ["bash", "-c", code], env={"V": HOSTILE}, capture_output=True, text=True, check=True
    )

    assert done.stdout.rstrip("\n") == HOSTILE

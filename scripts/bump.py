"""Set the one version of all distributions, and their pins on one another."""

from __future__ import annotations

import re
import sys

from workspace import distributions

__all__ = ["bumped", "sibling_range"]

_VERSION = re.compile(r'^version = "[^"]+"$', re.MULTILINE)
_SIBLING = re.compile(r'"(wfe(?:-[a-z]+)*(?:\[[a-z,]+\])?)>=[^"]+"')
_WANTED = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


def sibling_range(version: str) -> str:
    """Return the versions of siblings that go with *version*: its minor before 1.0, then major."""
    major, minor = (int(each) for each in version.split(".")[:2])
    return f">=0.{minor},<0.{minor + 1}" if major == 0 else f">={major}.{minor},<{major + 1}"


def bumped(text: str, version: str) -> str:
    """Return a pyproject file's text with the new version and new pins."""
    text = _VERSION.sub(f'version = "{version}"', text, count=1)
    return _SIBLING.sub(rf'"\g<1>{sibling_range(version)}"', text)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not _WANTED.fullmatch(arguments[0]):
        print("usage: bump.py X.Y.Z", file=sys.stderr)
        return 2
    for distribution in distributions():
        file = distribution.folder / "pyproject.toml"
        file.write_text(bumped(file.read_text(), arguments[0]))
        print(f"{distribution.name} is {arguments[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

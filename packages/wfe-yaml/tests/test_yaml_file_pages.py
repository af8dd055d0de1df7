"""The pages of the codes about files, templates and triggers: their examples do what they say."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from wfe.yaml import check
from wfe.yaml.codes import MEANINGS

CODES = [code for code in MEANINGS if "WFE080" <= code <= "WFE089"]


@pytest.mark.parametrize("code", CODES)
def test_a_page_has_a_wrong_example_and_its_cure(code: str, tmp_path: Path) -> None:
    text = files("wfe.yaml").joinpath("explained", f"{code}.md").read_text(encoding="utf-8")
    wrong, right = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "workflows.yaml"

    path.write_text(wrong, encoding="utf-8")
    found = check([path])
    path.write_text(right, encoding="utf-8")

    assert text.startswith(f"# {code}: {MEANINGS[code]}\n")
    assert {each.code for each in found} == {code}
    assert check([path]) == []

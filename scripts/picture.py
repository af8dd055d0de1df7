"""Draw docs/images/pipeline.svg from a real run in a real terminal (needs tmux)."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from workspace import ROOT

__all__ = ["capture", "draw"]

WIDTH, HEIGHT = 92, 30
IMAGE = ROOT / "docs" / "images" / "pipeline.svg"
COMMAND = "wfe run pipeline.yaml"
DONE = "run is over"


def capture(folder: Path) -> str:
    """Run the example's pipeline in a terminal; return the screen with its colours."""
    shutil.copy(ROOT / "examples" / "ci_pipeline" / "pipeline.yaml", folder)
    wfe = Path(sys.executable).with_name("wfe")
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    shell = f"cd {folder} && clear && {wfe} run pipeline.yaml; tmux wait-for -S '{DONE}'; read -r _"
    _tmux("new-session", "-d", "-s", "picture", *size, shell)
    try:
        _tmux("wait-for", DONE)
        time.sleep(0.2)  # noqa: TID251 - the terminal draws what was written to it
        return _tmux("capture-pane", "-e", "-p", "-t", "picture")
    finally:
        _tmux("kill-session", "-t", "picture")


def _tmux(*arguments: str) -> str:
    done = subprocess.run(("tmux", *arguments), check=True, capture_output=True, text=True)
    return done.stdout


def draw(screen: str, image: Path) -> None:
    """Write *screen* as an SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "green"), (COMMAND, "bold")))
    console.print(Text.from_ansi(screen.rstrip()))
    image.parent.mkdir(parents=True, exist_ok=True)
    svg = console.export_svg(title="wfe", unique_id="wfe")
    # No font from elsewhere: a picture in a README must not call anybody.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    image.write_text(svg.replace("Fira Code", "ui-monospace"), encoding="utf-8")


def main() -> int:
    if shutil.which("tmux") is None:
        print("tmux is not installed; it is the terminal that the picture is taken of")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        draw(capture(Path(folder)), IMAGE)
    print(f"drew {IMAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Lets tests import the examples that are packages, as ``python -m examples.NAME`` does."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).parents[1])
if _ROOT not in sys.path:
    sys.path.insert(0, _ROOT)

# Installed and run with their own tests by test_examples.py: no packages of this repository.
collect_ignore = ["wfe_files_provider", "wfe_steps_example"]

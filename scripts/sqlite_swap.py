"""A pytest plugin: the tests use pysqlite3's SQLite in place of the one that Python has."""

from __future__ import annotations

import importlib
import sys

__all__: list[str] = []

for _name in ("", ".dbapi2"):
    sys.modules[f"sqlite3{_name}"] = importlib.import_module(f"pysqlite3{_name}")

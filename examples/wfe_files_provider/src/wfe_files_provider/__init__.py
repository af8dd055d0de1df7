"""A store for WFE in a directory of plain files, as anybody can write one."""

from __future__ import annotations

from wfe_files_provider.store import FilesStore, open_url

__all__ = ["FilesStore", "open_url"]

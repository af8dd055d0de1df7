"""The tables of the search index; empty until somebody searches."""

from __future__ import annotations

from typing import Final

__all__ = ["SEARCH"]

SEARCH: Final[tuple[str, ...]] = (
    # Words stand between spaces; the vector finds where they are, and says how well they fit.
    """
CREATE TABLE wfe_search_runs (
    n bigint PRIMARY KEY, rev bigint NOT NULL, id text COLLATE "C" NOT NULL,
    definition text COLLATE "C" NOT NULL, status text COLLATE "C" NOT NULL,
    reference text COLLATE "C", created_at bigint NOT NULL, fields text[] COLLATE "C" NOT NULL,
    words text COLLATE "C" NOT NULL, vector tsvector NOT NULL)""",
    """
CREATE INDEX wfe_search_runs_created ON wfe_search_runs (created_at, n)""",
    """
CREATE INDEX wfe_search_runs_kind ON wfe_search_runs (definition, status, created_at, n)""",
    """
CREATE INDEX wfe_search_runs_reference ON wfe_search_runs (reference)
    WHERE reference IS NOT NULL""",
    """
CREATE INDEX wfe_search_runs_vector ON wfe_search_runs USING gin (vector)""",
    """
CREATE INDEX wfe_search_runs_fields ON wfe_search_runs USING gin (fields)""",
    """
CREATE TABLE wfe_search_gone (
    n bigint PRIMARY KEY, rev bigint NOT NULL, at bigint NOT NULL)""",
    """
CREATE INDEX wfe_search_gone_at ON wfe_search_gone (at)""",
    """
CREATE TABLE wfe_search_lines (
    l bigint PRIMARY KEY, n bigint NOT NULL, id text COLLATE "C" NOT NULL,
    definition text COLLATE "C" NOT NULL, at bigint NOT NULL, step text, pointer bigint,
    stream text NOT NULL, line text NOT NULL, words text COLLATE "C" NOT NULL,
    vector tsvector NOT NULL)""",
    """
CREATE INDEX wfe_search_lines_at ON wfe_search_lines (at, l)""",
    """
CREATE INDEX wfe_search_lines_run ON wfe_search_lines (n)""",
    """
CREATE INDEX wfe_search_lines_vector ON wfe_search_lines USING gin (vector)""",
)
"""What migration ``0002_search`` makes."""

"""What is looked for, as OpenSearch wants it."""

from __future__ import annotations

from typing import Any, Final

from wfe.core.search import SearchQuery, Term, position_in, position_text

__all__ = ["RUN_KEY", "body_of", "cursor_after", "is_scored"]

RUN_KEY: Final = ("created_at", "n")
"""Time and number of runs; of lines these are ``at`` and ``l``."""
_EXPANSIONS: Final = 1000  # words that the beginning of one may stand for, at the end of a phrase


def is_scored(query: SearchQuery) -> bool:
    """Whether what is found is ordered by how well it fits."""
    return query.order == "relevance" and any(not term.exclude for term in query.terms)


def body_of(query: SearchQuery, key: tuple[str, str]) -> dict[str, Any]:
    """Return the body of a search; it asks for one hit more than wanted, to know of a next page.

    Raises:
        DataTypeError: The cursor is none of such a search.
    """
    scored = is_scored(query)
    must = [_match(term) for term in query.terms if not term.exclude]
    must_not = [_match(term) for term in query.terms if term.exclude]
    filters = _filters(query, key[0])
    clauses: dict[str, Any] = {"filter": filters if scored else [*filters, *must]}
    if scored:
        clauses["must"] = must
    if must_not:
        clauses["must_not"] = must_not
    way = "asc" if query.order == "oldest" else "desc"
    body: dict[str, Any] = {
        "query": {"bool": clauses},
        "size": query.limit + 1,
        "sort": [*(["_score"] if scored else []), *({name: way} for name in key)],
        "track_total_hits": False,
    }
    if query.cursor is not None:
        kinds = (float, int, int) if scored else (int, int)
        body["search_after"] = position_in(query.cursor, kinds)
    return body


def cursor_after(hit: dict[str, Any], *, scored: bool) -> str:
    """Return the cursor of the page after *hit*."""
    position: list[Any] = hit["sort"]
    return position_text([float(position[0]), *position[1:]] if scored else position)


def _filters(query: SearchQuery, time: str) -> list[dict[str, Any]]:
    given = (
        ("definition", query.definition),
        ("status", query.status),
        ("reference", query.reference),
        ("id", query.run),
        *((f"data.{path}", text) for path, text in query.fields),
    )
    found: list[dict[str, Any]] = [
        {"term": {name: {"value": value}}} for name, value in given if value is not None
    ]
    times = {"gte": query.since, "lt": query.until}
    within = {name: value for name, value in times.items() if value is not None}
    if within:
        found.append({"range": {time: within}})
    return found


def _match(term: Term) -> dict[str, Any]:
    *_, last = term.words
    text = " ".join(term.words)
    if len(term.words) == 1 and term.prefix:
        return {"prefix": {"words": {"value": last}}}
    if len(term.words) == 1:
        return {"term": {"words": {"value": last}}}
    if term.prefix:
        asked = {"query": text, "max_expansions": _EXPANSIONS}
        return {"match_phrase_prefix": {"words": asked}}
    return {"match_phrase": {"words": {"query": text}}}

"""The function in the database that claims what is due.

Its settings leave the planner no choice but the indexes: a plan is made once, maybe while there
are no runs yet, and must look at no backlog later.  Settings of a session would be others', too.

Rules as in ``wfe.postgres.functions``: one that was released is never changed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CLAIMING"]

# Of the highest priority first, then the earliest.  Each definition's own first, locked as they are
# found: what another host is just claiming is passed over, and the next one taken.  The worker's
# row is locked only when there is something: an idle host writes nothing.  A fenced host claims
# nothing, or it would strand what it claims.
_CLAIM: Final = """
CREATE FUNCTION wfe_claim_1(
    p_epoch bigint, p_now bigint, p_definitions bigint[], p_limit bigint, p_hints bigint[])
RETURNS TABLE (o_n bigint, o_d bigint, o_takeovers bigint) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off AS $$
DECLARE
    v_now bigint := coalesce(p_now, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    v_found bigint[];
BEGIN
    IF p_hints IS NOT NULL THEN
        v_found := ARRAY(
            SELECT n FROM wfe_instances
            WHERE n = ANY (p_hints) AND d = ANY (p_definitions) AND owner IS NULL AND wake <= v_now
            ORDER BY priority DESC, wake, n LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
    ELSIF NOT EXISTS (
            SELECT 1 FROM unnest(p_definitions) AS w (d) CROSS JOIN LATERAL (
                SELECT 1 FROM wfe_instances i
                WHERE i.d = w.d AND i.owner IS NULL AND i.wake IS NOT NULL AND i.priority <> 0
                ORDER BY i.priority DESC LIMIT 1) ranked) THEN
        v_found := ARRAY(
            SELECT i.n FROM unnest(p_definitions) AS w (d) CROSS JOIN LATERAL (
                SELECT n, wake FROM wfe_instances
                WHERE d = w.d AND owner IS NULL AND wake IS NOT NULL AND priority = 0
                    AND wake <= v_now
                ORDER BY wake, n LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) i
            ORDER BY i.wake, i.n LIMIT p_limit);
    ELSE
        -- Level by level, so that sleeping ones cost nothing.
        v_found := ARRAY(
            WITH RECURSIVE levels AS (
                SELECT w.d, (SELECT i.priority FROM wfe_instances i
                    WHERE i.d = w.d AND i.owner IS NULL AND i.wake IS NOT NULL AND i.priority <> 0
                    ORDER BY i.priority DESC LIMIT 1) AS priority
                FROM unnest(p_definitions) AS w (d)
                UNION ALL
                SELECT l.d, (SELECT i.priority FROM wfe_instances i
                    WHERE i.d = l.d AND i.owner IS NULL AND i.wake IS NOT NULL AND i.priority <> 0
                        AND i.priority < l.priority
                    ORDER BY i.priority DESC LIMIT 1)
                FROM levels l WHERE l.priority IS NOT NULL),
            ranked AS MATERIALIZED (
                SELECT i.n, i.priority, i.wake FROM levels l CROSS JOIN LATERAL (
                    SELECT n, priority, wake FROM wfe_instances
                    WHERE d = l.d AND owner IS NULL AND wake IS NOT NULL AND priority <> 0
                        AND priority = l.priority AND wake <= v_now
                    ORDER BY wake, n LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) i
                WHERE l.priority IS NOT NULL),
            usual AS MATERIALIZED (
                SELECT i.n, i.priority, i.wake FROM unnest(p_definitions) AS w (d)
                CROSS JOIN LATERAL (
                    SELECT n, priority, wake FROM wfe_instances
                    WHERE d = w.d AND owner IS NULL AND wake IS NOT NULL AND priority = 0
                        AND wake <= v_now
                    ORDER BY wake, n LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) i)
            SELECT n FROM (SELECT * FROM ranked UNION ALL SELECT * FROM usual) both_kinds
            ORDER BY priority DESC, wake, n LIMIT p_limit);
    END IF;
    IF cardinality(v_found) = 0 THEN
        RETURN;
    END IF;
    PERFORM 1 FROM wfe_workers WHERE epoch = p_epoch AND fenced IS NULL FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
        WITH mine AS (
            UPDATE wfe_instances i SET owner = p_epoch WHERE i.n = ANY (v_found)
            RETURNING i.n, i.d, i.takeovers, i.priority, i.wake)
        SELECT n, d, takeovers FROM mine ORDER BY priority DESC, wake, n;
END $$"""

CLAIMING: Final[tuple[str, ...]] = (_CLAIM,)

"""The functions in the database that apply rare effects: each a lock or a look of its own moment.

A statement sees what was committed when it began.  So what must see the other side's write has to
run in a later statement than the lock, and the statements of a ``VOLATILE`` function are such
later ones, without a round trip each.  Their order of effects is that of the other stores.

A function that was released is never changed: a newer one gets a newer number, for hosts of two
versions work on one database at a time.
"""

from __future__ import annotations

from typing import Final

from wfe.postgres.claiming import CLAIMING
from wfe.postgres.delivering import DELIVERING

__all__ = ["FUNCTIONS"]

# Why a start cannot be: that it was made before, that another deduplicates it, its name is taken.
_START_PROBLEM: Final = """
CREATE FUNCTION wfe_start_problem_1(p_epoch bigint, p_new jsonb) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_id text;
BEGIN
    IF p_new->>'idem' IS NOT NULL THEN
        SELECT id INTO v_id FROM wfe_instances
        WHERE definition = p_new->>'definition' AND idem = p_new->>'idem';
        IF FOUND THEN
            RETURN ARRAY['idem', v_id];
        END IF;
    END IF;
    IF p_new->>'dedup' IS NOT NULL THEN
        SELECT id INTO v_id FROM wfe_instances
        WHERE definition = p_new->>'definition' AND dedup = p_new->>'dedup'
            AND completed_at IS NULL;
        IF FOUND THEN
            RETURN ARRAY['dedup', v_id];
        END IF;
    END IF;
    IF p_new->>'name' IS NOT NULL THEN
        SELECT id INTO v_id FROM wfe_instances WHERE name = p_new->>'name';
        IF FOUND THEN
            RETURN ARRAY['name', v_id];
        END IF;
    END IF;
    IF p_new->>'owner' IS NOT NULL AND (p_new->>'owner')::bigint IS DISTINCT FROM p_epoch THEN
        RETURN ARRAY['conflict', NULL];
    END IF;
    PERFORM 1 FROM wfe_instances WHERE n = (p_new->>'n')::bigint OR id = p_new->>'id';
    IF FOUND THEN
        RETURN ARRAY['conflict', NULL];
    END IF;
    RETURN NULL;
END $$"""

# Why a final run cannot go on: another has its deduplication text by now.
_REVIVAL_PROBLEM: Final = """
CREATE FUNCTION wfe_revival_problem_1(p_n bigint) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_id text;
BEGIN
    SELECT other.id INTO v_id FROM wfe_instances i JOIN wfe_instances other
        ON other.definition = i.definition AND other.dedup = i.dedup AND other.completed_at IS NULL
    WHERE i.n = p_n AND i.completed_at IS NOT NULL AND i.dedup IS NOT NULL;
    IF FOUND THEN
        RETURN ARRAY['dedup', v_id];
    END IF;
    RETURN NULL;
END $$"""

# Why the owner's change cannot be: not the owner, not the last row, a message not seen.
_OWNED_PROBLEM: Final = """
CREATE FUNCTION wfe_owned_problem_1(p_epoch bigint, p_item jsonb) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_n bigint := (p_item->>'n')::bigint;
    v_run record;
    v_last bigint;
BEGIN
    SELECT owner, poke, completed_at INTO v_run FROM wfe_instances WHERE n = v_n
    FOR NO KEY UPDATE;
    IF NOT FOUND OR p_epoch IS NULL OR v_run.owner IS DISTINCT FROM p_epoch THEN
        RETURN ARRAY['conflict', NULL];
    END IF;
    SELECT seq INTO v_last FROM wfe_journal WHERE instance = v_n ORDER BY seq DESC LIMIT 1;
    IF coalesce(v_last, -1) <> (p_item->>'base')::bigint THEN
        RETURN ARRAY['conflict', NULL];
    END IF;
    IF (p_item->>'needs_seen')::boolean AND v_run.poke <> (p_item->>'seen')::bigint THEN
        RETURN ARRAY['stale', NULL];
    END IF;
    IF v_run.completed_at IS NOT NULL AND p_item ? 'header'
            AND NOT (p_item->'header'->>'final')::boolean THEN
        RETURN wfe_revival_problem_1(v_n);
    END IF;
    RETURN NULL;
END $$"""

# Why an item cannot be applied, found out before anything of it is written.
_PROBLEM: Final = """
CREATE FUNCTION wfe_problem_1(p_epoch bigint, p_item jsonb) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_found text[];
    v_part jsonb;
    v_target record;
    v_names text[] := '{}';
BEGIN
    IF p_item ? 'fire' THEN
        PERFORM 1 FROM wfe_schedules
        WHERE id = p_item->'fire'->>'id' AND rev = (p_item->'fire'->>'rev')::bigint AND NOT paused
        FOR UPDATE;
        IF NOT FOUND THEN
            RETURN ARRAY['schedule', NULL];
        END IF;
    END IF;
    IF p_item ? 'new' THEN
        v_found := wfe_start_problem_1(p_epoch, p_item->'new');
    ELSIF (p_item->>'n')::bigint <> 0 THEN
        v_found := wfe_owned_problem_1(p_epoch, p_item);
    END IF;
    IF v_found IS NOT NULL THEN
        RETURN v_found;
    END IF;
    IF p_item ? 'messages' THEN
        FOR v_part IN SELECT value FROM jsonb_array_elements(p_item->'messages')
                WHERE (value->>'strict')::boolean AND value->>'target' IS NOT NULL LOOP
            SELECT n, status, completed_at INTO v_target FROM wfe_instances
            WHERE n = (v_part->>'target')::bigint FOR NO KEY UPDATE;
            IF NOT FOUND THEN
                RETURN ARRAY['missing', NULL];
            END IF;
            IF v_target.completed_at IS NOT NULL AND NOT (v_part->>'allow_final')::boolean THEN
                RETURN ARRAY['final', v_target.status];
            ELSIF v_target.completed_at IS NOT NULL THEN
                v_found := wfe_revival_problem_1(v_target.n);
                IF v_found IS NOT NULL THEN
                    RETURN v_found;
                END IF;
            END IF;
        END LOOP;
    END IF;
    IF p_item ? 'starts' THEN
        FOR v_part IN SELECT value FROM jsonb_array_elements(p_item->'starts') LOOP
            IF NOT v_part ? 'new' THEN
                RETURN ARRAY['conflict', NULL];
            END IF;
            v_found := wfe_start_problem_1(p_epoch, v_part->'new');
            -- A child that exists is left as it is.
            IF v_found IS NOT NULL AND v_found[1] NOT IN ('idem', 'dedup') THEN
                RETURN v_found;
            ELSIF v_found IS NULL AND v_part->'new'->>'name' = ANY (v_names) THEN
                RETURN ARRAY['name', NULL];
            END IF;
            v_names := v_names || (v_part->'new'->>'name');
        END LOOP;
    END IF;
    RETURN NULL;
END $$"""

_START: Final = """
CREATE FUNCTION wfe_start_1(p_new jsonb, p_now bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO wfe_instances (n, id, d, definition, version, name, reference, status, wake, owner,
        parent, parent_pointer, parent_id, root_id, idem, priority, dedup, created_at)
    VALUES ((p_new->>'n')::bigint, p_new->>'id', (p_new->>'d')::bigint, p_new->>'definition',
        (p_new->>'version')::bigint, p_new->>'name', p_new->>'reference', p_new->>'status',
        (p_new->>'wake')::bigint, (p_new->>'owner')::bigint, (p_new->>'parent')::bigint,
        (p_new->>'parent_pointer')::bigint, p_new->>'parent_id', p_new->>'root_id', p_new->>'idem',
        (p_new->>'priority')::bigint, p_new->>'dedup', p_now);
    IF p_new->>'owner' IS NULL AND (p_new->>'wake')::bigint <= p_now THEN
        RETURN ARRAY[(p_new->>'n')::bigint];
    END IF;
    RETURN '{}';
END $$"""

# What an item says about its own run: header, rows, snapshot, inbox, waits that end.
_CHANGE: Final = """
CREATE FUNCTION wfe_change_1(p_item jsonb, p_now bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_n bigint := (p_item->>'n')::bigint;
    v_head jsonb := p_item->'header';
    v_alive boolean := coalesce((p_item->>'alive')::boolean, false);
    v_final boolean := coalesce((p_item->'header'->>'final')::boolean, false);
    v_release boolean := coalesce((p_item->'header'->>'release')::boolean, false);
    v_wake bigint;
    v_woken bigint[] := '{}';
BEGIN
    IF v_head IS NOT NULL THEN
        UPDATE wfe_instances SET status = v_head->>'status', error = v_head->>'error',
            completed_at = CASE WHEN v_final THEN p_now END,
            retain_until = CASE WHEN v_final THEN (v_head->>'retain_until')::bigint END,
            owner = CASE WHEN v_final OR v_release THEN NULL ELSE owner END,
            wake = CASE WHEN v_final THEN NULL WHEN NOT v_release THEN wake
                WHEN poke = (p_item->>'seen')::bigint THEN (v_head->>'wake')::bigint
                ELSE p_now END,
            takeovers = CASE WHEN v_alive THEN 0 ELSE takeovers END,
            faults = CASE WHEN v_alive THEN 0 ELSE faults END,
            rev = pg_current_xact_id()::text::bigint
        WHERE n = v_n RETURNING wake INTO v_wake;
        IF v_final THEN
            DELETE FROM wfe_subscriptions WHERE instance = v_n;
        ELSIF v_release AND v_wake <= p_now THEN
            v_woken := ARRAY[v_n];
        END IF;
    ELSIF v_alive THEN
        UPDATE wfe_instances SET takeovers = 0, faults = 0 WHERE n = v_n;
    END IF;
    IF p_item ? 'rows' THEN
        INSERT INTO wfe_journal (instance, seq, at, event)
        SELECT v_n, (p_item->>'base')::bigint + row.k, p_now, row.event
        FROM jsonb_array_elements_text(p_item->'rows') WITH ORDINALITY row (event, k);
    END IF;
    IF p_item ? 'fold' THEN
        INSERT INTO wfe_snapshots (n, seq, at, state, data)
        VALUES (v_n, (p_item->'fold'->>'seq')::bigint, p_now, p_item->'fold'->>'state',
            p_item->'fold'->>'data')
        ON CONFLICT (n) DO UPDATE SET seq = excluded.seq, at = excluded.at,
            state = excluded.state, data = excluded.data;
    END IF;
    IF p_item ? 'consumed' THEN
        DELETE FROM wfe_inbox WHERE instance = v_n AND i = ANY (ARRAY(
            SELECT value::bigint FROM jsonb_array_elements_text(p_item->'consumed')));
    END IF;
    IF p_item ? 'unsubscribe' THEN
        DELETE FROM wfe_subscriptions WHERE instance = v_n AND pointer = ANY (ARRAY(
            SELECT value::bigint FROM jsonb_array_elements_text(p_item->'unsubscribe')));
    END IF;
    RETURN v_woken;
END $$"""

# What an item says about activities and limits, after all else of it.
_WANT: Final = """
CREATE FUNCTION wfe_want_1(p_item jsonb, p_over boolean, p_now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_n bigint := (p_item->>'n')::bigint;
    v_part jsonb;
    v_woken bigint[] := '{}';
BEGIN
    IF p_over THEN
        DELETE FROM wfe_activities WHERE instance = v_n;
        RETURN wfe_unhold_1(v_n, NULL, p_now);
    END IF;
    IF p_item ? 'end_activities' THEN
        DELETE FROM wfe_activities WHERE instance = v_n AND pointer = ANY (ARRAY(
            SELECT value::bigint FROM jsonb_array_elements_text(p_item->'end_activities')));
    END IF;
    IF p_item ? 'activities' THEN
        FOR v_part IN SELECT value FROM jsonb_array_elements(p_item->'activities') LOOP
            DELETE FROM wfe_activities
            WHERE instance = v_n AND pointer = (v_part->>'pointer')::bigint;
            INSERT INTO wfe_activities (instance, pointer, attempt, name, parameters)
            VALUES (v_n, (v_part->>'pointer')::bigint, (v_part->>'attempt')::bigint,
                v_part->>'name', v_part->>'parameters');
        END LOOP;
    END IF;
    IF p_item ? 'unhold' THEN
        v_woken := wfe_unhold_1(v_n, ARRAY(
            SELECT value::bigint FROM jsonb_array_elements_text(p_item->'unhold')), p_now);
    END IF;
    IF p_item ? 'hold' THEN
        FOR v_part IN SELECT value FROM jsonb_array_elements(p_item->'hold') LOOP
            v_woken := v_woken || wfe_hold_1(v_n, v_part, p_now);
        END LOOP;
    END IF;
    RETURN v_woken;
END $$"""

# Apply an item that has no problem; whom it woke.
_EFFECTS: Final = """
CREATE FUNCTION wfe_effects_1(p_epoch bigint, p_item jsonb, p_now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_n bigint := (p_item->>'n')::bigint;
    v_over boolean := coalesce((p_item->'header'->>'final')::boolean, false);
    v_part jsonb;
    v_target bigint;
    v_targets bigint[];
    v_woken bigint[] := '{}';
BEGIN
    IF p_item ? 'new' THEN
        v_woken := v_woken || wfe_start_1(p_item->'new', p_now);
    END IF;
    IF v_n <> 0 THEN
        v_woken := v_woken || wfe_change_1(p_item, p_now);
    END IF;
    IF p_item ? 'starts' THEN
        FOR v_part IN SELECT value FROM jsonb_array_elements(p_item->'starts') LOOP
            -- Any other problem came up this moment: the insertion fails, and so does the item.
            IF coalesce((wfe_start_problem_1(p_epoch, v_part->'new'))[1], '')
                    NOT IN ('idem', 'dedup') THEN
                v_woken := v_woken || wfe_effects_1(p_epoch, v_part, p_now);
            END IF;
        END LOOP;
    END IF;
    -- A run that ends with this item waits for nothing.
    IF NOT v_over AND p_item ? 'subscribe' THEN
        FOR v_part IN SELECT value FROM jsonb_array_elements(p_item->'subscribe') LOOP
            v_woken := v_woken || wfe_subscribe_1(v_n, v_part, p_now);
        END LOOP;
    END IF;
    IF p_item ? 'publish' THEN
        FOR v_part IN SELECT value FROM jsonb_array_elements(p_item->'publish') LOOP
            v_woken := v_woken || wfe_publish_1(v_part, p_now);
        END LOOP;
    END IF;
    IF p_item ? 'messages' THEN
        FOR v_part IN SELECT value FROM jsonb_array_elements(p_item->'messages') LOOP
            IF v_part->>'target' IS NULL THEN
                v_targets := ARRAY(SELECT n FROM wfe_instances
                    WHERE parent = v_n AND completed_at IS NULL ORDER BY n);
            ELSE
                v_targets := ARRAY[(v_part->>'target')::bigint];
            END IF;
            FOREACH v_target IN ARRAY v_targets LOOP
                IF wfe_deliver_1(v_target, v_part->>'kind', v_part->>'dedupe', p_now,
                        v_part->>'actor', v_part->>'reason', v_part->>'payload',
                        (v_part->>'strict')::boolean AND (v_part->>'allow_final')::boolean) THEN
                    v_woken := v_woken || v_target;
                END IF;
            END LOOP;
        END LOOP;
    END IF;
    IF v_n <> 0 THEN
        v_woken := v_woken || wfe_want_1(p_item, v_over, p_now);
    END IF;
    IF p_item ? 'fire' THEN
        v_part := p_item->'fire';
        UPDATE wfe_schedules SET next_at = (v_part->>'next_at')::bigint, state = v_part->>'state',
            rev = rev + 1,
            last_n = CASE WHEN (v_part->>'started')::boolean THEN v_n ELSE last_n END
        WHERE id = v_part->>'id';
    END IF;
    RETURN v_woken;
END $$"""

# Apply items in their order, each whole or not at all.  No row at all: the worker is fenced.
_APPLY: Final = """
CREATE FUNCTION wfe_apply_1(p_epoch bigint, p_now bigint, p_items jsonb)
RETURNS TABLE (o_at bigint, o_outcome text, o_info text, o_woken text) LANGUAGE plpgsql AS $$
DECLARE
    v_now bigint := coalesce(
        p_now, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    v_item jsonb;
    v_problem text[];
    v_woken bigint[];
BEGIN
    IF p_epoch IS NOT NULL THEN
        PERFORM 1 FROM wfe_workers WHERE epoch = p_epoch AND fenced IS NULL FOR KEY SHARE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    FOR v_item IN SELECT value FROM jsonb_array_elements(p_items) LOOP
        v_problem := wfe_problem_1(p_epoch, v_item);
        o_at := v_now;
        o_outcome := coalesce(v_problem[1], 'done');
        o_info := v_problem[2];
        o_woken := NULL;
        IF v_problem IS NULL THEN
            v_woken := wfe_effects_1(p_epoch, v_item, v_now);
            IF cardinality(v_woken) > 0 THEN
                SELECT json_agg(json_build_array(n, d, owner) ORDER BY n)::text INTO o_woken
                FROM wfe_instances WHERE n = ANY (v_woken);
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$"""

FUNCTIONS: Final[tuple[str, ...]] = (
    *DELIVERING,
    _START_PROBLEM,
    _REVIVAL_PROBLEM,
    _OWNED_PROBLEM,
    _PROBLEM,
    _START,
    _CHANGE,
    _WANT,
    _EFFECTS,
    _APPLY,
    *CLAIMING,
)
"""What migration ``0001_tables`` makes, each after those that it calls."""

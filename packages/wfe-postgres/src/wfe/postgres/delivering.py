"""The functions in the database that put messages into inboxes: also of events and limits.

Rules as in ``wfe.postgres.functions``: one that was released is never changed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DELIVERING"]

# Put a message into an inbox and wake its run; false: it was there already, or nobody is there.
_DELIVER: Final = """
CREATE FUNCTION wfe_deliver_1(
    p_n bigint, p_kind text, p_dedupe text, p_now bigint, p_actor text, p_reason text,
    p_payload text, p_final_too boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_open boolean;
BEGIN
    IF p_dedupe IS NULL THEN
        UPDATE wfe_instances SET poke = poke + 1,
            wake = CASE WHEN owner IS NULL THEN least(wake, p_now) ELSE wake END
        WHERE n = p_n AND (completed_at IS NULL OR p_final_too);
        IF FOUND THEN
            INSERT INTO wfe_inbox (instance, kind, at, actor, reason, payload)
            VALUES (p_n, p_kind, p_now, p_actor, p_reason, p_payload);
        END IF;
        RETURN FOUND;
    END IF;
    SELECT completed_at IS NULL INTO v_open FROM wfe_instances WHERE n = p_n FOR NO KEY UPDATE;
    IF v_open IS NULL OR NOT (v_open OR p_final_too) THEN
        RETURN false;
    END IF;
    INSERT INTO wfe_inbox (instance, kind, dedupe, at, actor, reason, payload)
    VALUES (p_n, p_kind, p_dedupe, p_now, p_actor, p_reason, p_payload)
    ON CONFLICT (instance, dedupe) WHERE dedupe IS NOT NULL DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE wfe_instances SET poke = poke + 1,
        wake = CASE WHEN owner IS NULL THEN least(wake, p_now) ELSE wake END
    WHERE n = p_n;
    RETURN true;
END $$"""

# Tell a run that its pointer has a place, or will have none.
_TELL: Final = """
CREATE FUNCTION wfe_tell_1(
    p_n bigint, p_pointer bigint, p_attempt bigint, p_key text, p_at bigint, p_taken boolean,
    p_now bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN wfe_deliver_1(
        p_n, 'granted', format('granted:%s:%s:%s', p_pointer, p_attempt, p_key), p_now, NULL, NULL,
        format('{"pointer":%s,"attempt":%s,"key":%s,"at":%s%s}', p_pointer, p_attempt,
            to_json(p_key), p_at, CASE WHEN p_taken THEN ',"taken":true' ELSE '' END),
        true);
END $$"""

# Give the places of a key that are free to those that wait longest; whom that woke.
_GRANT: Final = """
CREATE FUNCTION wfe_grant_1(p_key text, p_now bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_holders bigint;
    v_first record;
    v_woken bigint[] := '{}';
BEGIN
    SELECT count(*) INTO v_holders FROM wfe_holders WHERE key = p_key;
    LOOP
        SELECT w, lim, instance, pointer, attempt INTO v_first FROM wfe_waiters
        WHERE key = p_key ORDER BY w LIMIT 1;
        IF NOT FOUND OR v_holders >= v_first.lim THEN
            RETURN v_woken;
        END IF;
        DELETE FROM wfe_waiters WHERE w = v_first.w;
        INSERT INTO wfe_holders (key, instance, pointer, at)
        VALUES (p_key, v_first.instance, v_first.pointer, p_now);
        v_holders := v_holders + 1;
        IF wfe_tell_1(v_first.instance, v_first.pointer, v_first.attempt, p_key, p_now, false,
                p_now) THEN
            v_woken := v_woken || v_first.instance;
        END IF;
    END LOOP;
END $$"""

# A grant of a rate is given at once, with the time from which it counts.
_RATE: Final = """
CREATE FUNCTION wfe_rate_1(p_n bigint, p_hold jsonb, p_now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_key text := p_hold->>'key';
    v_per bigint := (p_hold->>'per')::bigint;
    v_at bigint;
BEGIN
    -- Of any key, also of those that nobody ever asks for again.
    DELETE FROM wfe_rates WHERE r IN (
        SELECT r FROM wfe_rates WHERE until <= p_now LIMIT 100 FOR UPDATE SKIP LOCKED);
    SELECT greatest(p_now, at + v_per) INTO v_at FROM wfe_rates WHERE key = v_key
    ORDER BY at DESC OFFSET (p_hold->>'limit')::bigint - 1 LIMIT 1;
    v_at := coalesce(v_at, p_now);
    IF NOT wfe_tell_1(p_n, (p_hold->>'pointer')::bigint, (p_hold->>'attempt')::bigint, v_key, v_at,
            false, p_now) THEN
        RETURN '{}';
    END IF;
    INSERT INTO wfe_rates (key, at, until) VALUES (v_key, v_at, v_at + v_per);
    RETURN ARRAY[p_n];
END $$"""

# End the runs that have the places, the oldest first, and those that wait for one.
_SUPERSEDE: Final = """
CREATE FUNCTION wfe_supersede_1(p_n bigint, p_key text, p_extra bigint, p_reason text, p_now bigint)
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_other bigint;
    v_others bigint[];
    v_woken bigint[] := '{}';
BEGIN
    v_others := ARRAY(SELECT instance FROM wfe_holders WHERE key = p_key AND instance <> p_n
            ORDER BY at, instance LIMIT greatest(p_extra, 0))
        || ARRAY(SELECT instance FROM wfe_waiters WHERE key = p_key AND instance <> p_n);
    FOR v_other IN SELECT DISTINCT unnest(v_others) ORDER BY 1 LOOP
        IF wfe_deliver_1(v_other, 'terminate', NULL, p_now, 'concurrency', p_reason, 'null',
                false) THEN
            v_woken := v_woken || v_other;
        END IF;
    END LOOP;
    RETURN v_woken;
END $$"""

# Grant a place, or queue for one.  The latest limit of a key counts, for those that wait already
# too: so the first of them is who fits, or nobody does.
_HOLD: Final = """
CREATE FUNCTION wfe_hold_1(p_n bigint, p_hold jsonb, p_now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_key text := p_hold->>'key';
    v_pointer bigint := (p_hold->>'pointer')::bigint;
    v_attempt bigint := (p_hold->>'attempt')::bigint;
    v_limit bigint := (p_hold->>'limit')::bigint;
    v_policy text := p_hold->>'on_conflict';
    v_has boolean;
    v_holders bigint;
    v_present bigint;
    v_woken bigint[] := '{}';
BEGIN
    IF p_hold->>'per' IS NOT NULL THEN
        RETURN wfe_rate_1(p_n, p_hold, p_now);
    END IF;
    SELECT count(*), coalesce(bool_or(instance = p_n AND pointer = v_pointer), false)
    INTO v_holders, v_has FROM wfe_holders WHERE key = v_key;
    SELECT lim INTO v_present FROM wfe_waiters WHERE key = v_key ORDER BY w LIMIT 1;
    IF NOT v_has AND v_present IS NULL AND v_holders < v_limit THEN
        INSERT INTO wfe_holders (key, instance, pointer, at) VALUES (v_key, p_n, v_pointer, p_now);
        v_has := true;
    END IF;
    IF v_has OR v_policy = 'skip' THEN
        IF wfe_tell_1(p_n, v_pointer, v_attempt, v_key, p_now, NOT v_has, p_now) THEN
            RETURN ARRAY[p_n];
        END IF;
        RETURN '{}';
    END IF;
    IF v_policy = 'cancel_running' THEN
        v_woken := wfe_supersede_1(
            p_n, v_key, v_holders - v_limit + 1, p_hold->>'reason', p_now);
    END IF;
    IF v_present IS NOT NULL AND v_present <> v_limit THEN
        UPDATE wfe_waiters SET lim = v_limit WHERE key = v_key;
    END IF;
    UPDATE wfe_waiters SET attempt = v_attempt
    WHERE instance = p_n AND pointer = v_pointer AND key = v_key;
    IF NOT FOUND THEN
        INSERT INTO wfe_waiters (key, lim, instance, pointer, attempt)
        VALUES (v_key, v_limit, p_n, v_pointer, v_attempt);
    END IF;
    IF v_holders < v_limit THEN
        v_woken := v_woken || wfe_grant_1(v_key, p_now);
    END IF;
    RETURN v_woken;
END $$"""

# Free what these pointers (null: all) of a run hold, and end their waiting.
_UNHOLD: Final = """
CREATE FUNCTION wfe_unhold_1(p_n bigint, p_pointers bigint[], p_now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_key text;
    v_freed text[];
    v_woken bigint[] := '{}';
BEGIN
    WITH gone AS (
        DELETE FROM wfe_holders
        WHERE instance = p_n AND (p_pointers IS NULL OR pointer = ANY (p_pointers)) RETURNING key)
    SELECT array_agg(DISTINCT key) INTO v_freed FROM gone;
    DELETE FROM wfe_waiters
    WHERE instance = p_n AND (p_pointers IS NULL OR pointer = ANY (p_pointers));
    FOR v_key IN SELECT unnest(v_freed) ORDER BY 1 LOOP
        v_woken := v_woken || wfe_grant_1(v_key, p_now);
    END LOOP;
    RETURN v_woken;
END $$"""

# Begin a wait, or end it at once with an event that is there.
_SUBSCRIBE: Final = """
CREATE FUNCTION wfe_subscribe_1(p_n bigint, p_wait jsonb, p_now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    v_pointer bigint := (p_wait->>'pointer')::bigint;
    v_event record;
BEGIN
    SELECT e, at, id, payload INTO v_event FROM wfe_events
    WHERE name = p_wait->>'name' AND key = p_wait->>'key'
        AND (at, e) >= ((p_wait->>'first_at')::bigint, (p_wait->>'first_e')::bigint)
        AND (expires IS NULL OR expires > p_now)
    ORDER BY at, e LIMIT 1;
    IF NOT FOUND THEN
        INSERT INTO wfe_subscriptions (instance, pointer, name, key, as_of, after_at, after_e)
        VALUES (p_n, v_pointer, p_wait->>'name', p_wait->>'key', (p_wait->>'as_of')::bigint,
            (p_wait->>'after_at')::bigint, (p_wait->>'after_e')::bigint)
        ON CONFLICT (instance, pointer) DO UPDATE SET name = excluded.name, key = excluded.key,
            as_of = excluded.as_of, after_at = excluded.after_at, after_e = excluded.after_e;
        RETURN '{}';
    END IF;
    DELETE FROM wfe_subscriptions WHERE instance = p_n AND pointer = v_pointer;
    IF wfe_deliver_1(p_n, 'event', format('event:%s:%s', v_pointer, v_event.e), p_now, NULL, NULL,
            format('{"pointer":%s,"e":%s,"at":%s,"id":%s,"payload":%s}', v_pointer, v_event.e,
                v_event.at, to_json(v_event.id), v_event.payload),
            true) THEN
        RETURN ARRAY[p_n];
    END IF;
    RETURN '{}';
END $$"""

# Store an event, and end the waits that it matches; their deletion is their one-time use.
_PUBLISH: Final = """
CREATE FUNCTION wfe_publish_1(p_event jsonb, p_now bigint) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_at bigint := coalesce((p_event->>'at')::bigint, p_now);
    v_e bigint;
    v_runs bigint[];
    v_pointers bigint[];
    v_woken bigint[] := '{}';
BEGIN
    INSERT INTO wfe_events (id, name, key, at, payload, expires)
    VALUES (p_event->>'id', p_event->>'name', p_event->>'key', v_at, p_event->>'payload',
        (p_event->>'expires')::bigint)
    ON CONFLICT (id) DO NOTHING RETURNING e INTO v_e;
    IF v_e IS NULL OR (p_event->>'expires')::bigint <= p_now THEN
        RETURN v_woken;
    END IF;
    WITH gone AS (
        DELETE FROM wfe_subscriptions
        WHERE name = p_event->>'name' AND key = p_event->>'key' AND as_of <= v_at
            AND (v_at, v_e) > (after_at, after_e)
        RETURNING instance, pointer)
    SELECT array_agg(instance ORDER BY instance, pointer),
        array_agg(pointer ORDER BY instance, pointer)
    INTO v_runs, v_pointers FROM gone;
    FOR k IN 1 .. coalesce(cardinality(v_runs), 0) LOOP
        IF wfe_deliver_1(v_runs[k], 'event', format('event:%s:%s', v_pointers[k], v_e), p_now,
                NULL, NULL,
                format('{"pointer":%s,"e":%s,"at":%s,"id":%s,"payload":%s}', v_pointers[k], v_e,
                    v_at, to_json(p_event->>'id'), p_event->>'payload'),
                true) THEN
            v_woken := v_woken || v_runs[k];
        END IF;
    END LOOP;
    RETURN v_woken;
END $$"""

DELIVERING: Final[tuple[str, ...]] = (
    _DELIVER,
    _TELL,
    _GRANT,
    _RATE,
    _SUPERSEDE,
    _HOLD,
    _UNHOLD,
    _SUBSCRIBE,
    _PUBLISH,
)
"""Each after those that it calls."""

-- What a statement writes into the outbox of this file is an entry at once, in the same transaction: the streams are here, so
-- no relay has to carry it. `OutboxRow::insert` names the columns.
CREATE VIEW streamer_outbox AS
SELECT 0 AS position, '' AS event_id, 0 AS shard, '' AS ordering_key, x'' AS stream, x'' AS fields, NULL AS identifier,
       NULL AS history, 0 AS created_ms, 0 AS attempts, NULL AS last_error, 0 AS blocked
WHERE 0;

CREATE TRIGGER streamer_outbox_emit INSTEAD OF INSERT ON streamer_outbox
WHEN substr(NEW.fields, 1, 8) IS NOT x'066475655f6d7310' BEGIN
    -- Form 2 of this trigger: `layout.rs` makes others again.
    -- A statement that reads the table that it writes, and UPDATE … FROM, make a table of their own first: none does here.
    INSERT INTO streamer_keys (name, kind) VALUES (CAST(NEW.stream AS BLOB), 0) ON CONFLICT DO NOTHING;
    SELECT RAISE(ABORT, 'the key of the stream''s name holds another kind of value: give the event another name')
    WHERE (SELECT kind FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB)) <> 0;
    -- The name of a stream must not be that of its record's list.
    SELECT RAISE(ABORT, 'the record of an entry cannot have the name of its stream')
    WHERE NEW.identifier IS NOT NULL
      AND CAST(coalesce(NEW.history, NEW.stream) || '-' || NEW.identifier AS BLOB) = CAST(NEW.stream AS BLOB);

    INSERT INTO streamer_streams (stream, last_ms, last_seq, max_deleted_id, entries_added, length)
    SELECT id, 0, 0, zeroblob(16), 0, 0 FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB)
    ON CONFLICT DO NOTHING;

    -- A UUID of version 7 was made for this row, and only this row has it. Any other is an idempotency key.
    SELECT RAISE(IGNORE)
    WHERE substr(NEW.event_id, 15, 1) <> '7' AND EXISTS (
        SELECT 1 FROM streamer_appended_once
        WHERE stream = (SELECT id FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB))
          AND key = CAST(NEW.event_id AS BLOB)
          AND expires_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER)
    );

    -- The next ID, as the engine chooses it: now, or the one after the last. Within a statement the time stands still.
    UPDATE streamer_streams
    SET last_ms = CASE
            WHEN last_ms >= 0 AND last_ms < CAST(unixepoch('subsec') * 1000 AS INTEGER)
                THEN CAST(unixepoch('subsec') * 1000 AS INTEGER)
            WHEN last_seq <> -1 THEN last_ms
            WHEN last_ms = -1
                THEN RAISE(ABORT, 'the stream has given its last possible ID and can take no more entries')
            WHEN last_ms = 9223372036854775807 THEN -9223372036854775807 - 1
            ELSE last_ms + 1
        END,
        last_seq = CASE
            WHEN last_ms >= 0 AND last_ms < CAST(unixepoch('subsec') * 1000 AS INTEGER) THEN 0
            WHEN last_seq = 9223372036854775807 THEN -9223372036854775807 - 1
            ELSE last_seq + 1
        END,
        entries_added = entries_added + 1,
        length = length + 1
    WHERE stream = (SELECT id FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB));

    INSERT INTO streamer_entries (stream, id, fields)
    SELECT stream, unhex(printf('%016x%016x', last_ms, last_seq)), NEW.fields
    FROM streamer_streams
    WHERE stream = (SELECT id FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB));

    -- The record for replays.
    INSERT INTO streamer_keys (name, kind)
    SELECT CAST(coalesce(NEW.history, NEW.stream) || '-' || NEW.identifier AS BLOB), 3
    WHERE NEW.identifier IS NOT NULL
    ON CONFLICT DO NOTHING;
    SELECT RAISE(ABORT, 'the key of the resource''s history holds another kind of value')
    WHERE NEW.identifier IS NOT NULL AND 3 <> (
        SELECT kind FROM streamer_keys WHERE name = CAST(coalesce(NEW.history, NEW.stream) || '-' || NEW.identifier AS BLOB)
    );
    INSERT INTO streamer_elements (key, element)
    SELECT list.id,
           CAST(json_object(
               'id', printf('%u-%u', last_ms, last_seq),
               'name', CAST(NEW.stream AS TEXT),
               'identifier', NEW.identifier,
               'date', strftime('%Y-%m-%d %H:%M:%S', NEW.created_ms / 1000, 'unixepoch')
           ) AS BLOB)
    FROM streamer_keys AS list, streamer_streams
    WHERE NEW.identifier IS NOT NULL
      AND list.name = CAST(coalesce(NEW.history, NEW.stream) || '-' || NEW.identifier AS BLOB)
      AND streamer_streams.stream = (SELECT id FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB));

    -- For a day, as the relay does by default.
    INSERT INTO streamer_appended_once (stream, key, id, expires_ms)
    SELECT stream, CAST(NEW.event_id AS BLOB), unhex(printf('%016x%016x', last_ms, last_seq)),
           CAST(unixepoch('subsec') * 1000 AS INTEGER) + 86400000
    FROM streamer_streams
    WHERE substr(NEW.event_id, 15, 1) <> '7'
      AND stream = (SELECT id FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB))
    ON CONFLICT DO UPDATE SET id = excluded.id, expires_ms = excluded.expires_ms;
    DELETE FROM streamer_appended_once
    WHERE substr(NEW.event_id, 15, 1) <> '7'
      AND (stream, key) IN (
          SELECT stream, key FROM streamer_appended_once
          WHERE expires_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
          ORDER BY expires_ms LIMIT 2
      );
END;

-- Fields that begin with `due_ms` are those of an event that is due later, at the millisecond in the 16 digits that follow. It is
-- kept until then, as the engine keeps it.
CREATE TRIGGER streamer_outbox_schedule INSTEAD OF INSERT ON streamer_outbox
WHEN substr(NEW.fields, 1, 8) IS x'066475655f6d7310' BEGIN
    -- A moment that has passed.
    INSERT INTO streamer_outbox (event_id, shard, ordering_key, stream, fields, identifier, history, created_ms)
    SELECT NEW.event_id, NEW.shard, NEW.ordering_key, NEW.stream, substr(NEW.fields, 25), NEW.identifier, NEW.history, NEW.created_ms
    WHERE CAST(CAST(substr(NEW.fields, 9, 16) AS TEXT) AS INTEGER) <= CAST(unixepoch('subsec') * 1000 AS INTEGER);
    SELECT RAISE(IGNORE)
    WHERE CAST(CAST(substr(NEW.fields, 9, 16) AS TEXT) AS INTEGER) <= CAST(unixepoch('subsec') * 1000 AS INTEGER);

    SELECT RAISE(ABORT, 'an event that is due later has no ID yet that its record could hold: give it no identifier')
    WHERE NEW.identifier IS NOT NULL;
    INSERT INTO streamer_keys (name, kind) VALUES (CAST(NEW.stream AS BLOB), 0) ON CONFLICT DO NOTHING;
    SELECT RAISE(ABORT, 'the key of the stream''s name holds another kind of value: give the event another name')
    WHERE (SELECT kind FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB)) <> 0;
    INSERT INTO streamer_streams (stream, last_ms, last_seq, max_deleted_id, entries_added, length)
    SELECT id, 0, 0, zeroblob(16), 0, 0 FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB)
    ON CONFLICT DO NOTHING;
    SELECT RAISE(IGNORE)
    WHERE substr(NEW.event_id, 15, 1) <> '7' AND EXISTS (
        SELECT 1 FROM streamer_appended_once
        WHERE stream = (SELECT id FROM streamer_keys WHERE name = CAST(NEW.stream AS BLOB))
          AND key = CAST(NEW.event_id AS BLOB)
          AND expires_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER)
    );

    -- Its ID while it waits: the millisecond, and a number greater than those of the events that wait for the same one.
    INSERT INTO streamer_scheduled (stream, id, fields)
    SELECT keys.id,
           unhex(printf('%016x%016x', due.ms, max(
               CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000,
               -- SQL reads hexadecimal digits as a number of JSON5 only.
               coalesce((
                   SELECT json_extract('0x' || hex(substr(waiting.id, 9)), '$') + 1 FROM streamer_scheduled AS waiting
                   WHERE waiting.stream = keys.id
                     AND waiting.id >= unhex(printf('%016x%016x', due.ms, 0))
                     AND waiting.id < unhex(printf('%016x%016x', due.ms + 1, 0))
                   ORDER BY waiting.id DESC LIMIT 1
               ), 0)
           ))),
           substr(NEW.fields, 25)
    FROM streamer_keys AS keys, (SELECT CAST(CAST(substr(NEW.fields, 9, 16) AS TEXT) AS INTEGER) AS ms) AS due
    WHERE keys.name = CAST(NEW.stream AS BLOB);

    INSERT INTO streamer_appended_once (stream, key, id, expires_ms)
    SELECT keys.id, CAST(NEW.event_id AS BLOB),
           (
               SELECT waiting.id FROM streamer_scheduled AS waiting
               WHERE waiting.stream = keys.id
                 AND waiting.id < unhex(printf('%016x%016x', CAST(CAST(substr(NEW.fields, 9, 16) AS TEXT) AS INTEGER) + 1, 0))
               ORDER BY waiting.id DESC LIMIT 1
           ),
           CAST(unixepoch('subsec') * 1000 AS INTEGER) + 86400000
    FROM streamer_keys AS keys
    WHERE substr(NEW.event_id, 15, 1) <> '7' AND keys.name = CAST(NEW.stream AS BLOB)
    ON CONFLICT DO UPDATE SET id = excluded.id, expires_ms = excluded.expires_ms;
END;

-- There are no rows; statements that change them find none.
CREATE TRIGGER streamer_outbox_change INSTEAD OF UPDATE ON streamer_outbox BEGIN SELECT 1; END;
CREATE TRIGGER streamer_outbox_remove INSTEAD OF DELETE ON streamer_outbox BEGIN SELECT 1; END;

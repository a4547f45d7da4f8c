-- Layout 1 had the file for itself: its names had no prefix, and its version lay in `user_version`.
ALTER TABLE keys RENAME TO streamer_keys;
ALTER TABLE entries RENAME TO streamer_entries;
ALTER TABLE groups RENAME TO streamer_groups;
ALTER TABLE consumers RENAME TO streamer_consumers;
ALTER TABLE pending RENAME TO streamer_pending;
ALTER TABLE members RENAME TO streamer_members;
ALTER TABLE hash_fields RENAME TO streamer_hash_fields;
ALTER TABLE elements RENAME TO streamer_elements;

DROP INDEX pending_of_consumer;
DROP INDEX members_of_key;
CREATE INDEX streamer_members_of_key ON streamer_members (key);
DROP INDEX elements_of_key;
CREATE INDEX streamer_elements_of_key ON streamer_elements (key, id);

-- Files that were written before there were idempotency keys lack this one.
CREATE TABLE IF NOT EXISTS appended_once (
    stream INTEGER NOT NULL,
    key BLOB NOT NULL,
    id BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (stream, key)
) STRICT, WITHOUT ROWID;
ALTER TABLE appended_once RENAME TO streamer_appended_once;
CREATE INDEX streamer_expiry_of_appended_once ON streamer_appended_once (expires_ms);

CREATE TABLE streamer_streams (
    stream INTEGER PRIMARY KEY,
    last_ms INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    max_deleted_id BLOB NOT NULL,
    entries_added INTEGER NOT NULL,
    length INTEGER NOT NULL
) STRICT;

CREATE TABLE streamer_meta (
    layout INTEGER NOT NULL
) STRICT;
INSERT INTO streamer_meta (layout) VALUES (2);

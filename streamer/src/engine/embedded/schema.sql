-- The tables of the streams, beside those of the application. Layout 2; `layout.rs` brings older files to it.
CREATE TABLE streamer_meta (
    layout INTEGER NOT NULL
) STRICT;
INSERT INTO streamer_meta (layout) VALUES (2);

-- Every key that is there. One name is one kind of thing, as in Redis: 0 is a stream, 1 a set, 2 a hash, 3 a list.
CREATE TABLE streamer_keys (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    kind INTEGER NOT NULL
) STRICT;

-- The last ID as two numbers, so that SQL can work out the next one. Both are unsigned: a negative one is 2^64 more.
CREATE TABLE streamer_streams (
    stream INTEGER PRIMARY KEY,
    last_ms INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    max_deleted_id BLOB NOT NULL,
    entries_added INTEGER NOT NULL,
    length INTEGER NOT NULL
) STRICT;

-- IDs are 16 big-endian bytes, which sort as the IDs do.
CREATE TABLE streamer_entries (
    stream INTEGER NOT NULL,
    id BLOB NOT NULL,
    fields BLOB NOT NULL,
    PRIMARY KEY (stream, id)
) STRICT, WITHOUT ROWID;

-- What was appended with an idempotency key. Keys that were made one after the other (UUIDs of version 7) lie side by side.
-- Any other keys are in no order, so that only the index leads to those whose window is over.
CREATE TABLE streamer_appended_once (
    stream INTEGER NOT NULL,
    key BLOB NOT NULL,
    id BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (stream, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX streamer_expiry_of_appended_once ON streamer_appended_once (expires_ms);

CREATE TABLE streamer_groups (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    name TEXT NOT NULL,
    last_delivered_id BLOB NOT NULL,
    entries_read INTEGER,
    UNIQUE (stream, name)
) STRICT;

-- Times are milliseconds since the Unix epoch.
CREATE TABLE streamer_consumers (
    id INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    active_ms INTEGER,
    UNIQUE (group_id, name)
) STRICT;

-- No index by consumer: it would cost each message a sixth of its way, and who asks for those of one consumer is content with
-- a look at those of the group.
CREATE TABLE streamer_pending (
    group_id INTEGER NOT NULL,
    id BLOB NOT NULL,
    consumer INTEGER NOT NULL,
    delivered_ms INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (group_id, id)
) STRICT, WITHOUT ROWID;

-- A scan goes by `id`, so that it meets every member that stays, whatever comes and goes meanwhile.
CREATE TABLE streamer_members (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    member BLOB NOT NULL,
    UNIQUE (key, member)
) STRICT;
CREATE INDEX streamer_members_of_key ON streamer_members (key);

CREATE TABLE streamer_hash_fields (
    key INTEGER NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (key, name)
) STRICT, WITHOUT ROWID;

-- The newest element has the greatest `id`.
CREATE TABLE streamer_elements (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    element BLOB NOT NULL
) STRICT;
CREATE INDEX streamer_elements_of_key ON streamer_elements (key, id);

-- Every key that is there. One name is one kind of thing, as in Redis: 0 is a stream, 1 a set, 2 a hash, 3 a list.
CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    kind INTEGER NOT NULL
) STRICT;

-- IDs are 16 big-endian bytes, which sort as the IDs do.
CREATE TABLE streams (
    stream INTEGER PRIMARY KEY,
    last_id BLOB NOT NULL,
    max_deleted_id BLOB NOT NULL,
    entries_added INTEGER NOT NULL,
    length INTEGER NOT NULL
) STRICT;

CREATE TABLE entries (
    stream INTEGER NOT NULL,
    id BLOB NOT NULL,
    fields BLOB NOT NULL,
    PRIMARY KEY (stream, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    name TEXT NOT NULL,
    last_delivered_id BLOB NOT NULL,
    entries_read INTEGER,
    UNIQUE (stream, name)
) STRICT;

-- Times are milliseconds since the Unix epoch.
CREATE TABLE consumers (
    id INTEGER PRIMARY KEY,
    group_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    active_ms INTEGER,
    UNIQUE (group_id, name)
) STRICT;

CREATE TABLE pending (
    group_id INTEGER NOT NULL,
    id BLOB NOT NULL,
    consumer INTEGER NOT NULL,
    delivered_ms INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (group_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_of_consumer ON pending (consumer, id);

-- A scan goes by `id`, so that it meets every member that stays, whatever comes and goes meanwhile.
CREATE TABLE members (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    member BLOB NOT NULL,
    UNIQUE (key, member)
) STRICT;
CREATE INDEX members_of_key ON members (key);

CREATE TABLE hash_fields (
    key INTEGER NOT NULL,
    name BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (key, name)
) STRICT, WITHOUT ROWID;

-- The newest element has the greatest `id`.
CREATE TABLE elements (
    id INTEGER PRIMARY KEY,
    key INTEGER NOT NULL,
    element BLOB NOT NULL
) STRICT;
CREATE INDEX elements_of_key ON elements (key, id);

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

-- A store as version 0.1 left it, made by hand.
INSERT INTO keys (id, name, kind) VALUES
    (1, CAST('orders' AS BLOB), 0), (2, CAST('last' AS BLOB), 0), (3, CAST('failed_stream' AS BLOB), 1),
    (4, CAST('{orders}:retry:workers' AS BLOB), 2), (5, CAST('orders-7' AS BLOB), 3);
INSERT INTO streams (stream, last_id, max_deleted_id, entries_added, length) VALUES
    (1, x'0000000000000005000000000000000a', x'00000000000000040000000000000000', 4, 3),
    (2, x'ffffffffffffffff8000000000000000', zeroblob(16), 1, 0);
INSERT INTO entries (stream, id, fields) VALUES
    (1, x'00000000000000010000000000000000', x'0464617461027b7d'),
    (1, x'00000000000000020000000000000000', x'0464617461027b7d'),
    (1, x'0000000000000005000000000000000a', x'0464617461027b7d');
INSERT INTO groups (id, stream, name, last_delivered_id, entries_read) VALUES
    (1, 1, 'workers', x'00000000000000020000000000000000', 2);
INSERT INTO consumers (id, group_id, name, seen_ms, active_ms) VALUES (1, 1, 'ben', 1000, 1000);
INSERT INTO pending (group_id, id, consumer, delivered_ms, deliveries) VALUES
    (1, x'00000000000000020000000000000000', 1, 1000, 3);
INSERT INTO members (key, member) VALUES (3, CAST('a failure' AS BLOB));
INSERT INTO hash_fields (key, name, value) VALUES (4, CAST('2-0' AS BLOB), CAST('{}' AS BLOB));
INSERT INTO elements (key, element) VALUES (5, CAST('a snapshot' AS BLOB));
PRAGMA application_id = 0x5374726d;
PRAGMA user_version = 1;

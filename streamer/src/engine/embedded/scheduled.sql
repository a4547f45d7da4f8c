-- Entries that are appended later. The first 8 bytes of the ID are the millisecond in which one is due. What the stream keeps
-- when it is appended: so many of the newest, or those from an ID on, or everything.
CREATE TABLE IF NOT EXISTS streamer_scheduled (
    stream INTEGER NOT NULL,
    id BLOB NOT NULL,
    fields BLOB NOT NULL,
    keep_newest INTEGER,
    keep_from BLOB,
    PRIMARY KEY (stream, id)
) STRICT, WITHOUT ROWID;

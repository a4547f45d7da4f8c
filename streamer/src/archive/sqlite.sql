-- Archived messages. `id` is the entry ID as 16 bytes, big-endian, which sort as entry IDs do; `message` is JSON and
-- holds everything, the stream's name and the ID too.
CREATE TABLE IF NOT EXISTS streamer_archive (
    stream  BLOB NOT NULL,
    id      BLOB NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (stream, id)
) WITHOUT ROWID;

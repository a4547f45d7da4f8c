-- Archived messages. `id` is the entry ID as 16 bytes, big-endian, which sort as entry IDs do; `message` is JSON in
-- UTF-8 and holds everything, the stream's name and the ID too.
CREATE TABLE IF NOT EXISTS streamer_archive (
    stream  varbinary(3000) NOT NULL,
    id      binary(16) NOT NULL,
    message longblob NOT NULL,
    PRIMARY KEY (stream, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

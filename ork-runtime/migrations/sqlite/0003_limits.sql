-- Concurrency limits: what a row waits for, and of how many permits; and the permits that processes hold.
ALTER TABLE owed ADD COLUMN waits TEXT;
ALTER TABLE owed ADD COLUMN permits INTEGER;

DROP INDEX owed_free;
CREATE INDEX owed_free ON owed (priority DESC, id) WHERE holder IS NULL AND due IS NULL AND waits IS NULL;
CREATE INDEX owed_waits ON owed (waits, priority DESC, id) WHERE waits IS NOT NULL;

CREATE TABLE permit (
    name TEXT NOT NULL,
    boot BLOB NOT NULL,
    held INTEGER NOT NULL,
    PRIMARY KEY (name, boot)
) STRICT, WITHOUT ROWID;

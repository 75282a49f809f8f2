-- Concurrency limits: what a row waits for, and of how many permits; and the permits that processes hold.
ALTER TABLE ork.owed ADD COLUMN waits text, ADD COLUMN permits bigint;

DROP INDEX ork.owed_free;
CREATE INDEX owed_free ON ork.owed (priority DESC, id) WHERE holder IS NULL AND due IS NULL AND waits IS NULL;
CREATE INDEX owed_waits ON ork.owed (waits, priority DESC, id) WHERE waits IS NOT NULL;

CREATE TABLE ork.permit (
    name text NOT NULL,
    boot uuid NOT NULL,
    held bigint NOT NULL,
    PRIMARY KEY (name, boot)
) WITH (fillfactor = 50);

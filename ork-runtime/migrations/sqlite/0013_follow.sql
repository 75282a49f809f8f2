-- Jobs that follow several others: those others that have not ended.
CREATE TABLE follow (
    job BLOB NOT NULL,
    follower BLOB NOT NULL,
    PRIMARY KEY (job, follower)
) STRICT, WITHOUT ROWID;
CREATE INDEX follow_follower ON follow (follower);

-- Jobs that follow several others: those others that have not ended.
CREATE TABLE ork.follow (
    job uuid NOT NULL,
    follower uuid NOT NULL,
    PRIMARY KEY (job, follower)
);
CREATE INDEX follow_follower ON ork.follow (follower);

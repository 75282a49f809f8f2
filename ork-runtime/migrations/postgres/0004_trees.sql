-- Trees: what a job knows of the jobs below it, as JSON; nothing for a job that is alone.
ALTER TABLE ork.job ADD COLUMN tree TEXT;

-- Whoever changes a job opens the jobs above it: mostly there are none, and this says so at once.
CREATE INDEX job_above ON ork.job (id) INCLUDE (parent) WHERE parent IS NOT NULL;
CREATE INDEX job_parent ON ork.job (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX job_root ON ork.job (root, id) WHERE parent IS NOT NULL;

-- Unique keys: the job that took each last.
CREATE TABLE ork.unique_key (
    key TEXT PRIMARY KEY,
    job UUID NOT NULL,
    since BIGINT NOT NULL
);

CREATE INDEX unique_key_job ON ork.unique_key (job);

-- Trees: what a job knows of the jobs below it, as JSON; nothing for a job that is alone.
ALTER TABLE job ADD COLUMN tree TEXT;

CREATE INDEX job_parent ON job (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX job_root ON job (root, id) WHERE parent IS NOT NULL;

-- Unique keys: the job that took each last.
CREATE TABLE unique_key (
    key TEXT PRIMARY KEY,
    job BLOB NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX unique_key_job ON unique_key (job);

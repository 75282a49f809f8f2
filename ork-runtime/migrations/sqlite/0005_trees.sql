-- Trees: what a job knows of the jobs below it, as JSON; nothing for a job that is alone.
ALTER TABLE job ADD COLUMN tree TEXT;

CREATE INDEX job_parent ON job (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX job_root ON job (root, id) WHERE parent IS NOT NULL;

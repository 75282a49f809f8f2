-- When the job that has a key last showed a sign of life.
ALTER TABLE unique_key RENAME COLUMN since TO seen;

-- The jobs that a process works on, as it last said: their ids, 16 bytes each.
ALTER TABLE worker ADD COLUMN running BLOB NOT NULL DEFAULT x'';

-- Jobs that have not ended, for those that wait for a message that is lost.
CREATE INDEX job_open ON job (task, id) WHERE ended IS NULL;

-- The unique key that a job took when it was submitted: a retry takes it again.
ALTER TABLE job ADD COLUMN unique_key TEXT;

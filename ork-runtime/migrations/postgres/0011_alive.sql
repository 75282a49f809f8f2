-- When the job that has a key last showed a sign of life.
ALTER TABLE ork.unique_key RENAME COLUMN since TO seen;

-- The jobs that a process works on, as it last said.
ALTER TABLE ork.worker ADD COLUMN running uuid[] NOT NULL DEFAULT '{}';

-- Jobs that have not ended, for those that wait for a message that is lost.
CREATE INDEX job_open ON ork.job (task, id) WHERE ended IS NULL;

-- The unique key that a job took when it was submitted: a retry takes it again.
ALTER TABLE ork.job ADD COLUMN unique_key text;

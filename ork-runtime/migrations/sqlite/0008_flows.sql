-- What a job is to a workflow, as JSON: a run with how far its tasks are, or one of them.
ALTER TABLE job ADD COLUMN flow TEXT;

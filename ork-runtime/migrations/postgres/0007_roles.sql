-- What a job is besides a call of its task, as JSON: a run with how far its tasks are, one of them, a schedule.
ALTER TABLE ork.job ADD COLUMN role text;

-- When the job that has a key last showed a sign of life.
ALTER TABLE ork.unique_key RENAME COLUMN since TO seen;

-- The fingerprints of the schemas that a job's input and its parts were made for: sixteen bytes each, zeros where unknown.
ALTER TABLE ork.job ADD COLUMN schemas bytea;

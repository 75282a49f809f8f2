-- What tells this file from every other: its large outputs lie apart from those of others.
ALTER TABLE counter ADD COLUMN store BLOB;
UPDATE counter SET store = randomblob(16);

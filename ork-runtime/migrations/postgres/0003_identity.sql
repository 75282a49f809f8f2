-- What tells this database from every other: its large outputs lie apart from those of others.
ALTER TABLE ork.ork_schema ADD COLUMN store uuid NOT NULL DEFAULT md5(random()::text || clock_timestamp()::text)::uuid;

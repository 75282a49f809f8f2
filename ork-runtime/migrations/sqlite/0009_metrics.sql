-- What jobs have recorded, added up. `job` is `job.seq`; the labels are JSON, sorted by key.
CREATE TABLE metric (
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    count INTEGER NOT NULL,
    sum REAL NOT NULL,
    min REAL NOT NULL,
    max REAL NOT NULL,
    last REAL NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (job, name, labels)
) STRICT, WITHOUT ROWID;

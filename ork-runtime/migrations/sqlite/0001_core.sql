-- Jobs. `seq` is short, so that parts, shards and owed rows are found and kept cheaply.
CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    root BLOB NOT NULL,
    parent BLOB,
    task TEXT NOT NULL,
    kind TEXT NOT NULL,
    phase TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    base INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    worker TEXT,
    created INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    due INTEGER,
    failure TEXT,
    reply_queue TEXT,
    reply_correlation TEXT,
    -- The head of the ledger.
    epoch INTEGER NOT NULL,
    appended INTEGER NOT NULL,
    sealed INTEGER,
    halted TEXT,
    cut INTEGER NOT NULL,
    on_error TEXT NOT NULL,
    tolerate TEXT NOT NULL,
    joined INTEGER NOT NULL,
    percent REAL,
    info TEXT,
    output BLOB,
    input BLOB NOT NULL
) STRICT;

-- Parts: `id` is `job.seq * 2^32 + index`, so that the parts of one job lie side by side.
-- How a part ended stands in its shard, not here.
CREATE TABLE part (
    id INTEGER PRIMARY KEY,
    input BLOB,
    output BLOB,
    failure TEXT
) STRICT;

-- The ledger's sets, 65,536 parts a row: `id` is `job.seq * 2^16 + shard`. The counts are those of the sets.
CREATE TABLE shard (
    id INTEGER PRIMARY KEY,
    sets BLOB NOT NULL,
    ok INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    running INTEGER NOT NULL
) STRICT;

-- The outbox.
CREATE TABLE owed (
    id INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    task TEXT NOT NULL,
    ask TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    first INTEGER NOT NULL,
    len INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due INTEGER,
    holder BLOB,
    lost INTEGER NOT NULL
) STRICT;

CREATE INDEX owed_free ON owed (priority DESC, id) WHERE holder IS NULL AND due IS NULL;
CREATE INDEX owed_due ON owed (due) WHERE due IS NOT NULL;
CREATE INDEX owed_held ON owed (holder) WHERE holder IS NOT NULL;

-- Running processes, and until when they are believed to live.
CREATE TABLE worker (
    boot BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;

-- The number of the next row of the outbox: a number is never used twice.
CREATE TABLE counter (next_owed INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (1);

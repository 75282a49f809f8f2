-- The tables of a store in an SQLite file. Columns have the names of the fields that they hold; times are milliseconds
-- since 1970-01-01 UTC; ids of jobs, processes and the store are 16 bytes.

-- The store itself, in one row.
CREATE TABLE store (
    -- Distinguishes this file from every other store: large outputs are kept apart by it.
    id BLOB NOT NULL,
    -- The id of the next row of the outbox. No id is used twice.
    next_outbox_id INTEGER NOT NULL
) STRICT;
INSERT INTO store VALUES (randomblob(16), 1);

-- Jobs, each with the head of its ledger.
CREATE TABLE job (
    -- The short number by which other tables refer to the job, so that their rows are small and lie side by side.
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    -- The job at the top of the tree, which may be the job itself.
    root BLOB NOT NULL,
    -- The job that submitted this one.
    parent BLOB,
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    created INTEGER NOT NULL,
    ended INTEGER,
    -- The job and the head of its ledger: JSON. The columns above repeat what queries need.
    document TEXT NOT NULL,
    progress_percent REAL,
    progress_info TEXT,
    output BLOB,
    input BLOB NOT NULL
) STRICT;

CREATE INDEX job_parent ON job (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX job_root ON job (root, id) WHERE parent IS NOT NULL;
-- Finds jobs that wait for a message that was lost.
CREATE INDEX job_open ON job (task, id) WHERE ended IS NULL;

-- The parts of jobs. How a part ended is recorded in its shard.
CREATE TABLE part (
    -- `job.seq * 2^32 + index`, so that the parts of one job lie side by side.
    id INTEGER PRIMARY KEY,
    -- NULL once the part has an output.
    input BLOB,
    output BLOB,
    -- Why the last attempt failed: JSON.
    failure TEXT,
    -- The number of the last attempt that ended.
    attempts INTEGER,
    progress_percent REAL,
    progress_info TEXT
) STRICT;

-- The ledgers of jobs, 65,536 parts a row.
CREATE TABLE shard (
    -- `job.seq * 2^16 + number of the shard`.
    id INTEGER PRIMARY KEY,
    -- Which parts have ended, and how, as compressed bitmaps.
    bitmaps BLOB NOT NULL,
    -- How many parts the bitmaps contain.
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    running INTEGER NOT NULL
) STRICT;

-- The messages that are to be sent. A row is deleted once they are.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    -- `job.seq`.
    job INTEGER NOT NULL,
    task TEXT NOT NULL,
    -- 'start', 'join', 'parts', 'waited-part', 'reply', 'hooks', 'event' or 'part-events'.
    kind TEXT NOT NULL,
    -- The epoch of parts, the mask of hooks, or the code of an event; otherwise 0.
    detail INTEGER NOT NULL,
    -- The index of the first part, and how many parts the row stands for.
    first INTEGER NOT NULL,
    len INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    -- The earliest time at which the row may be taken; NULL if it is due.
    due INTEGER,
    -- The boot id of the process that has taken the row.
    holder BLOB,
    -- How many processes have died while they held the row.
    losses INTEGER NOT NULL,
    -- The concurrency limit for which the row waits, and how many permits that limit has.
    waits_for TEXT,
    permits INTEGER
) STRICT;

-- No index by holder: it is used only when a process ends or dies, and every job would pay for it twice.
CREATE INDEX outbox_free ON outbox (priority DESC, id) WHERE holder IS NULL AND due IS NULL AND waits_for IS NULL;
CREATE INDEX outbox_due ON outbox (due) WHERE due IS NOT NULL;
CREATE INDEX outbox_waits_for ON outbox (waits_for, priority DESC, id) WHERE waits_for IS NOT NULL;

-- Heartbeats: the processes that are believed to live.
CREATE TABLE process (
    -- The boot id: random bytes that differ for every start of a process.
    boot BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    -- When the process is presumed dead unless another heartbeat is written.
    expires_at INTEGER NOT NULL,
    -- The ids of the jobs that the process runs or of which it holds deliveries, one after the other.
    running BLOB NOT NULL DEFAULT x''
) STRICT;

-- The permits of a concurrency limit that each process holds: how many, and since when it holds any. A process that was
-- presumed dead has lost its permits; if it is alive and takes new ones, `since` tells them apart.
CREATE TABLE permit (
    limit_name TEXT NOT NULL,
    boot BLOB NOT NULL,
    held INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (limit_name, boot)
) STRICT, WITHOUT ROWID;

-- The job that took each unique key last.
CREATE TABLE unique_key (
    key TEXT PRIMARY KEY,
    job BLOB NOT NULL,
    -- When that job last showed a sign of life.
    last_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX unique_key_job ON unique_key (job);

-- Jobs that follow several others: one row for each of those others that has not ended.
CREATE TABLE follow (
    job BLOB NOT NULL,
    follower BLOB NOT NULL,
    PRIMARY KEY (job, follower)
) STRICT, WITHOUT ROWID;

CREATE INDEX follow_follower ON follow (follower);

-- What jobs have measured, aggregated.
CREATE TABLE metric (
    -- `job.seq`.
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    -- JSON, sorted by key.
    labels TEXT NOT NULL,
    count INTEGER NOT NULL,
    sum REAL NOT NULL,
    min REAL NOT NULL,
    max REAL NOT NULL,
    -- The last value, and when it was measured.
    last REAL NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (job, name, labels)
) STRICT, WITHOUT ROWID;

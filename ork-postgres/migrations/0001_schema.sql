-- The tables of a store in the schema `ork` of a PostgreSQL database. Columns have the names of the fields that they
-- hold; times are milliseconds since 1970-01-01 UTC. Rows that are updated often leave room on their page for the next
-- version (fillfactor).

-- The store itself, in one row.
CREATE TABLE ork.store (
    -- Distinguishes this database from every other store: large outputs are kept apart by it.
    id uuid NOT NULL DEFAULT md5(random()::text || clock_timestamp()::text)::uuid,
    -- How many migrations have been applied.
    schema_version bigint NOT NULL
);
INSERT INTO ork.store (schema_version) VALUES (0);

-- Jobs, each with the head of its ledger.
CREATE TABLE ork.job (
    id uuid PRIMARY KEY,
    -- The job at the top of the tree, which may be the job itself.
    root uuid NOT NULL,
    -- The job that submitted this one.
    parent uuid,
    task text NOT NULL,
    state text NOT NULL,
    created bigint NOT NULL,
    ended bigint,
    -- The job and the head of its ledger: JSON. The columns above repeat what queries need.
    document text NOT NULL,
    progress_percent double precision,
    progress_info text,
    output bytea,
    input bytea NOT NULL
) WITH (fillfactor = 70);

-- A transaction that changes a job loads the jobs above it. Most jobs have none, which this index shows at once.
CREATE INDEX job_above ON ork.job (id) INCLUDE (parent) WHERE parent IS NOT NULL;
CREATE INDEX job_parent ON ork.job (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX job_root ON ork.job (root, id) WHERE parent IS NOT NULL;
-- Finds jobs that wait for a message that was lost.
CREATE INDEX job_open ON ork.job (task, id) WHERE ended IS NULL;

-- The parts of jobs. How a part ended is recorded in its shard.
CREATE TABLE ork.part (
    job uuid NOT NULL,
    index bigint NOT NULL,
    -- NULL once the part has an output.
    input bytea,
    output bytea,
    -- Why the last attempt failed: JSON.
    failure text,
    -- The number of the last attempt that ended.
    attempts bigint,
    progress_percent double precision,
    progress_info text,
    PRIMARY KEY (job, index)
);

-- The ledgers of jobs, 65,536 parts a row.
CREATE TABLE ork.shard (
    job uuid NOT NULL,
    number bigint NOT NULL,
    -- Which parts have ended, and how, as compressed bitmaps.
    bitmaps bytea NOT NULL,
    -- How many parts the bitmaps contain.
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    skipped bigint NOT NULL,
    cancelled bigint NOT NULL,
    running bigint NOT NULL,
    PRIMARY KEY (job, number)
) WITH (fillfactor = 50);

-- The messages that are to be sent. A row is deleted once they are. The table is a queue: it is vacuumed early, as dead
-- rows slow down the search for free ones.
CREATE TABLE ork.outbox (
    id bigint PRIMARY KEY,
    job uuid NOT NULL,
    task text NOT NULL,
    -- 'start', 'join', 'parts', 'waited-part', 'reply', 'hooks', 'event' or 'part-events'.
    kind text NOT NULL,
    -- The epoch of parts, the mask of hooks, or the code of an event; otherwise 0.
    detail bigint NOT NULL,
    -- The index of the first part, and how many parts the row stands for.
    first bigint NOT NULL,
    len bigint NOT NULL,
    attempt bigint NOT NULL,
    priority bigint NOT NULL,
    -- The earliest time at which the row may be taken; NULL if it is due.
    due bigint,
    -- The boot id of the process that has taken the row.
    holder uuid,
    -- How many processes have died while they held the row.
    losses bigint NOT NULL,
    -- The concurrency limit for which the row waits, and how many permits that limit has.
    waits_for text,
    permits bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX outbox_free ON ork.outbox (priority DESC, id) WHERE holder IS NULL AND due IS NULL AND waits_for IS NULL;
CREATE INDEX outbox_due ON ork.outbox (due) WHERE due IS NOT NULL;
CREATE INDEX outbox_holder ON ork.outbox (holder) WHERE holder IS NOT NULL;
CREATE INDEX outbox_waits_for ON ork.outbox (waits_for, priority DESC, id) WHERE waits_for IS NOT NULL;

-- The ids of outbox rows are reserved in blocks of 1,024. No id is used twice.
CREATE SEQUENCE ork.outbox_block INCREMENT BY 1024 MINVALUE 1024;

-- Heartbeats: the processes that are believed to live.
CREATE TABLE ork.process (
    -- The boot id: random bytes that differ for every start of a process.
    boot uuid PRIMARY KEY,
    name text NOT NULL,
    -- When the process is presumed dead unless another heartbeat is written.
    expires_at bigint NOT NULL,
    -- The jobs that the process runs or of which it holds deliveries.
    running uuid[] NOT NULL
) WITH (fillfactor = 50);

-- The connections that write, one for each process. After a lost connection, the row shows whether the last transaction
-- was committed, and which session of the server must be ended.
CREATE TABLE ork.writer (
    -- An id of the connection's process, which differs from its boot id.
    id uuid PRIMARY KEY,
    -- The number of the last transaction that was committed.
    last_transaction bigint NOT NULL,
    -- The process id of the server's backend.
    backend_pid bigint NOT NULL,
    connected timestamptz NOT NULL
) WITH (fillfactor = 50);

-- The permits of a concurrency limit that each process holds: how many, and since when it holds any. A process that was
-- presumed dead has lost its permits; if it is alive and takes new ones, `since` tells them apart.
CREATE TABLE ork.permit (
    limit_name text NOT NULL,
    boot uuid NOT NULL,
    held bigint NOT NULL,
    since bigint NOT NULL,
    PRIMARY KEY (limit_name, boot)
) WITH (fillfactor = 50);

-- The job that took each unique key last.
CREATE TABLE ork.unique_key (
    key text PRIMARY KEY,
    job uuid NOT NULL,
    -- When that job last showed a sign of life.
    last_seen bigint NOT NULL
);

CREATE INDEX unique_key_job ON ork.unique_key (job);

-- Jobs that follow several others: one row for each of those others that has not ended.
CREATE TABLE ork.follow (
    job uuid NOT NULL,
    follower uuid NOT NULL,
    PRIMARY KEY (job, follower)
);

CREATE INDEX follow_follower ON ork.follow (follower);

-- What jobs have measured, aggregated. Texts are compared as bytes, as in the other stores.
CREATE TABLE ork.metric (
    job uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    -- JSON, sorted by key.
    labels text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    sum double precision NOT NULL,
    min double precision NOT NULL,
    max double precision NOT NULL,
    -- The last value, and when it was measured.
    last double precision NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (job, name, labels)
) WITH (fillfactor = 70);

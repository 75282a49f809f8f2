-- Jobs. Short rows are rewritten often, so that pages keep room for their next version.
CREATE TABLE ork.job (
    id uuid PRIMARY KEY,
    root uuid NOT NULL,
    parent uuid,
    task text NOT NULL,
    kind text NOT NULL,
    phase text NOT NULL,
    state text NOT NULL,
    attempt bigint NOT NULL,
    base bigint NOT NULL,
    priority bigint NOT NULL,
    worker text,
    created bigint NOT NULL,
    started bigint,
    ended bigint,
    due bigint,
    failure text,
    -- Other programs choose these; a text of PostgreSQL could not hold every one.
    reply_queue bytea,
    reply_correlation bytea,
    -- The head of the ledger.
    epoch bigint NOT NULL,
    appended bigint NOT NULL,
    sealed bigint,
    halted text,
    cut boolean NOT NULL,
    on_error text NOT NULL,
    tolerate text NOT NULL,
    joined boolean NOT NULL,
    percent double precision,
    info text,
    output bytea,
    input bytea NOT NULL
) WITH (fillfactor = 70);

-- Parts. How a part ended stands in its shard, not here.
CREATE TABLE ork.part (
    job uuid NOT NULL,
    index bigint NOT NULL,
    input bytea,
    output bytea,
    failure text,
    PRIMARY KEY (job, index)
);

-- The ledger's sets, 65,536 parts a row. The counts are those of the sets.
CREATE TABLE ork.shard (
    job uuid NOT NULL,
    number bigint NOT NULL,
    sets bytea NOT NULL,
    ok bigint NOT NULL,
    failed bigint NOT NULL,
    skipped bigint NOT NULL,
    cancelled bigint NOT NULL,
    running bigint NOT NULL,
    PRIMARY KEY (job, number)
) WITH (fillfactor = 50);

-- The outbox. It is a queue: what is done must be swept away before it slows down the search for what is not.
CREATE TABLE ork.owed (
    id bigint PRIMARY KEY,
    job uuid NOT NULL,
    task text NOT NULL,
    ask text NOT NULL,
    epoch bigint NOT NULL,
    first bigint NOT NULL,
    len bigint NOT NULL,
    attempt bigint NOT NULL,
    priority bigint NOT NULL,
    due bigint,
    holder uuid,
    lost bigint NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX owed_free ON ork.owed (priority DESC, id) WHERE holder IS NULL AND due IS NULL;
CREATE INDEX owed_due ON ork.owed (due) WHERE due IS NOT NULL;
CREATE INDEX owed_held ON ork.owed (holder) WHERE holder IS NOT NULL;

-- The numbers of the outbox's rows are given out in blocks: a number is never used twice.
CREATE SEQUENCE ork.owed_block INCREMENT BY 1024 MINVALUE 1024;

-- Running workers, and until when they are believed to live.
CREATE TABLE ork.worker (
    boot uuid PRIMARY KEY,
    name text NOT NULL,
    until bigint NOT NULL
) WITH (fillfactor = 50);

-- Processes that write, each with the number of its last transaction, so that one whose connection ended in the middle
-- of a commit learns whether that was carried out; and with its connection, so that it can end what is left of it.
CREATE TABLE ork.process (
    boot uuid PRIMARY KEY,
    batch bigint NOT NULL,
    backend bigint NOT NULL,
    seen timestamptz NOT NULL
) WITH (fillfactor = 50);

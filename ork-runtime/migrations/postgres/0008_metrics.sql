-- What jobs have recorded, added up; the labels are JSON, sorted by key. Texts are compared as bytes, as elsewhere.
CREATE TABLE ork.metric (
    job uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    labels text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    sum double precision NOT NULL,
    min double precision NOT NULL,
    max double precision NOT NULL,
    last double precision NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (job, name, labels)
) WITH (fillfactor = 70);

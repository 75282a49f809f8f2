-- Which attempt at a part ended last, and what it says about how far it is.
ALTER TABLE ork.part
    ADD COLUMN attempts bigint,
    ADD COLUMN percent double precision,
    ADD COLUMN info text;

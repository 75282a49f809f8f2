-- Which attempt at a part ended last, and what it says about how far it is.
ALTER TABLE part ADD COLUMN attempts INTEGER;
ALTER TABLE part ADD COLUMN percent REAL;
ALTER TABLE part ADD COLUMN info TEXT;

-- What follows a job that has ended, as JSON.
ALTER TABLE ork.job ADD COLUMN hooks text;

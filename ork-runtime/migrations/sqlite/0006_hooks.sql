-- What follows a job that has ended, as JSON.
ALTER TABLE job ADD COLUMN hooks TEXT;

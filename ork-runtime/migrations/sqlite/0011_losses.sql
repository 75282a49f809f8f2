-- How often the worker of the current attempt died, or lost its connection, while it ran: calls, not deliveries.
ALTER TABLE job ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;

-- How often the worker of the current attempt died, or lost its connection, while it ran: calls, not deliveries.
ALTER TABLE ork.job ADD COLUMN losses bigint NOT NULL DEFAULT 0;

-- What a process holds is asked for when it ends or has died, which is rare; every job would pay for the index twice.
DROP INDEX owed_held;

-- What `SQLite` and `PostgreSQL` understand in the same way: counts are kept by the ledger, not by
-- triggers, and no column has the name of a function.
DROP TRIGGER IF EXISTS job_added;
DROP TRIGGER IF EXISTS job_moved;
ALTER TABLE task RENAME COLUMN "user" TO user_name;

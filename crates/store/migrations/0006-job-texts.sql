-- Long texts of jobs and attempts, and why the server ended a job.
CREATE TABLE job_text (
    panda_id INTEGER NOT NULL,
    attempt_nr INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (panda_id, attempt_nr, kind)
) STRICT, WITHOUT ROWID;

ALTER TABLE job ADD COLUMN server_code INTEGER NOT NULL DEFAULT 0;

-- The history of statuses: one row for each change of a job's or a task's, in the order of commits.
-- `panda_id` is NULL where the task itself changed, `old` where it was made.
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    panda_id INTEGER,
    task_id INTEGER NOT NULL,
    attempt_nr INTEGER,
    old TEXT,
    new TEXT NOT NULL,
    queue TEXT,
    reason TEXT NOT NULL,
    source_label TEXT NOT NULL
) STRICT;
CREATE INDEX history_by_job ON history (panda_id, id) WHERE panda_id IS NOT NULL;
CREATE INDEX history_by_task ON history (task_id, id) WHERE panda_id IS NULL;

ALTER TABLE job ADD COLUMN sub_status TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN tags TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN global_share TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN parent INTEGER;
ALTER TABLE attempt ADD COLUMN report TEXT NOT NULL DEFAULT '';

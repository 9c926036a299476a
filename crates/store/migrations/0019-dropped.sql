-- Whether the jobs of a task were dropped from the archive: 0 none, 1 some, 2 all.
ALTER TABLE task ADD COLUMN jobs_dropped INTEGER NOT NULL DEFAULT 0;
-- Whose jobs to drop next.
CREATE INDEX task_to_drop ON task (state_changed, id)
    WHERE status IN ('done', 'finished', 'failed', 'aborted', 'broken') AND jobs_dropped < 2;

-- PanDA's tasks: how they are understood, how far they have come, and which datasets belong
-- together. A revision of 0 is a task of our own kind.
ALTER TABLE task ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
CREATE INDEX task_of_panda ON task (name, id) WHERE revision > 0;
ALTER TABLE file ADD COLUMN n_events INTEGER;

CREATE TABLE panda_task (
    task_id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    params TEXT NOT NULL,
    refined TEXT,
    PRIMARY KEY (task_id, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE task_progress (
    task_id INTEGER PRIMARY KEY,
    parent INTEGER,
    due INTEGER,
    modified INTEGER NOT NULL,
    progress TEXT NOT NULL
) STRICT;
CREATE INDEX task_due ON task_progress (due, task_id) WHERE due IS NOT NULL;
CREATE INDEX task_after ON task_progress (parent, task_id) WHERE parent IS NOT NULL;
CREATE INDEX task_changed ON task_progress (modified);

CREATE TABLE container (
    name TEXT NOT NULL,
    dataset TEXT NOT NULL,
    PRIMARY KEY (name, dataset)
) STRICT, WITHOUT ROWID;

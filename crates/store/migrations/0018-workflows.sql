-- Workflows: steps that are tasks, each submitted when what it reads is there.
INSERT INTO counter (name, last) VALUES ('workflow', 0);

CREATE TABLE workflow (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    user_name TEXT NOT NULL,
    status TEXT NOT NULL,
    due INTEGER,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    details TEXT NOT NULL
) STRICT;
CREATE INDEX workflow_due ON workflow (due, id) WHERE due IS NOT NULL;

CREATE TABLE workflow_step (
    workflow_id INTEGER NOT NULL,
    place INTEGER NOT NULL,
    status TEXT NOT NULL,
    task_id INTEGER,
    reason TEXT NOT NULL,
    plan TEXT NOT NULL,
    PRIMARY KEY (workflow_id, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_step_by_task ON workflow_step (task_id) WHERE task_id IS NOT NULL;

-- The archive: jobs that ended long ago, with all that belongs to them, in the same columns.
CREATE TABLE archived_job (
    panda_id INTEGER PRIMARY KEY,
    task_id INTEGER NOT NULL,
    part INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempt_nr INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    first_event INTEGER NOT NULL,
    n_events INTEGER NOT NULL,
    queue TEXT,
    priority INTEGER NOT NULL,
    source_label TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    cores INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    disk INTEGER NOT NULL,
    walltime_secs INTEGER NOT NULL,
    command TEXT,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    state_changed INTEGER NOT NULL,
    harvester_id TEXT,
    worker_id INTEGER,
    reason TEXT NOT NULL,
    sub_status TEXT NOT NULL,
    tags TEXT NOT NULL,
    global_share TEXT NOT NULL,
    parent INTEGER,
    kind TEXT NOT NULL,
    serial INTEGER NOT NULL,
    server_code INTEGER NOT NULL,
    turn INTEGER NOT NULL
) STRICT;
CREATE INDEX archived_job_by_task ON archived_job (task_id, status, panda_id);

CREATE TABLE archived_attempt (
    panda_id INTEGER NOT NULL,
    attempt_nr INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    queue TEXT NOT NULL,
    node TEXT NOT NULL,
    pilot_id TEXT NOT NULL,
    status TEXT NOT NULL,
    sent INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    payload_exit_code INTEGER,
    pilot_error_code INTEGER,
    pilot_error_diag TEXT,
    payload_error_code INTEGER,
    payload_error_diag TEXT,
    server_error_code INTEGER,
    server_error_diag TEXT,
    diagnosis TEXT NOT NULL,
    cpu_secs INTEGER,
    rss_max INTEGER,
    timing TEXT NOT NULL,
    log_surl TEXT NOT NULL,
    pilot_log TEXT NOT NULL,
    report TEXT NOT NULL,
    task_id INTEGER NOT NULL,
    UNIQUE (panda_id, attempt_nr)
) STRICT;
CREATE INDEX archived_attempt_unsuccessful ON archived_attempt (task_id)
    WHERE status IN ('failed', 'cancelled', 'closed');

CREATE TABLE archived_need (
    panda_id INTEGER NOT NULL,
    input INTEGER NOT NULL,
    part INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    status TEXT NOT NULL,
    PRIMARY KEY (panda_id, input, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX archived_need_by_part ON archived_need (dataset, part, panda_id);

CREATE TABLE archived_job_text (
    panda_id INTEGER NOT NULL,
    attempt_nr INTEGER NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (panda_id, attempt_nr, kind)
) STRICT, WITHOUT ROWID;

-- What to archive next.
CREATE INDEX job_ended ON job (state_changed, panda_id)
    WHERE status IN ('finished', 'failed', 'cancelled', 'closed');

-- The server's rows. Times are milliseconds since 1970 (UTC), sizes bytes; an absent value is NULL
-- or, where the model says so, an empty text.

-- The last number that was given out, by kind.
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, last) VALUES ('task', 0), ('job', 0), ('file', 0);

CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    "user" TEXT NOT NULL,
    name TEXT NOT NULL,
    chain TEXT NOT NULL,
    status TEXT NOT NULL,
    n_jobs INTEGER NOT NULL,
    next_seed INTEGER NOT NULL,
    created INTEGER NOT NULL,
    state_changed INTEGER NOT NULL
) STRICT;
CREATE INDEX task_by_status ON task (status, id);
CREATE INDEX task_by_name ON task ("user", name);
CREATE INDEX task_by_chain ON task (chain, id) WHERE chain <> '';

-- What was submitted, as JSON. Apart from the task, because it never changes and may be long.
CREATE TABLE task_spec (
    task_id INTEGER PRIMARY KEY REFERENCES task (id),
    spec TEXT NOT NULL
) STRICT;

-- Which datasets a task reads.
CREATE TABLE task_input (
    dataset TEXT NOT NULL,
    task_id INTEGER NOT NULL REFERENCES task (id),
    PRIMARY KEY (dataset, task_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE dataset (
    name TEXT PRIMARY KEY,
    producer INTEGER,
    n_parts INTEGER NOT NULL
) STRICT;

CREATE TABLE file (
    id INTEGER PRIMARY KEY,
    dataset TEXT NOT NULL,
    part INTEGER NOT NULL,
    lfn TEXT NOT NULL,
    scope TEXT NOT NULL,
    guid TEXT,
    size INTEGER,
    checksum TEXT,
    surl TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    producer INTEGER,
    UNIQUE (dataset, part)
) STRICT;

CREATE TABLE job (
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
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX job_by_task ON job (task_id, status, panda_id);
-- Dispatch reads this index alone, in its order, until it has found enough.
CREATE INDEX job_claimable ON job (
    queue, priority DESC, panda_id,
    source_label, memory, disk, walltime_secs, resource_type, task_id
) WHERE status = 'activated';
CREATE INDEX job_unheard ON job (status, modified, panda_id)
    WHERE status NOT IN ('finished', 'failed', 'cancelled', 'closed');
CREATE INDEX job_by_queue ON job (queue, status)
    WHERE status NOT IN ('finished', 'failed', 'cancelled', 'closed');
CREATE INDEX job_by_worker ON job (harvester_id, worker_id, panda_id)
    WHERE worker_id IS NOT NULL AND status NOT IN ('finished', 'failed', 'cancelled', 'closed');

-- How many jobs of a task are in which status. Written with each change of a job's status, so
-- that it equals the rows it counts, and a task of a million jobs is counted in no time.
CREATE TABLE task_job_count (
    task_id INTEGER NOT NULL,
    status TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (task_id, status)
) STRICT, WITHOUT ROWID;

-- Which parts of datasets a job reads.
CREATE TABLE need (
    panda_id INTEGER NOT NULL,
    input INTEGER NOT NULL,
    part INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    status TEXT NOT NULL,
    PRIMARY KEY (panda_id, input, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX need_by_part ON need (dataset, part, panda_id);
CREATE INDEX need_expected ON need (panda_id) WHERE status = 'defined';

CREATE TABLE attempt (
    panda_id INTEGER NOT NULL,
    attempt_nr INTEGER NOT NULL,
    task_id INTEGER NOT NULL,
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
    UNIQUE (panda_id, attempt_nr)
) STRICT;
CREATE INDEX attempt_unsuccessful ON attempt (task_id)
    WHERE status IN ('failed', 'cancelled', 'closed');

CREATE TABLE worker (
    harvester_id TEXT NOT NULL,
    worker_id INTEGER NOT NULL,
    batch_id TEXT NOT NULL,
    queue TEXT NOT NULL,
    status TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    job_type TEXT NOT NULL,
    core_count INTEGER NOT NULL,
    node TEXT NOT NULL,
    submit_time INTEGER,
    start_time INTEGER,
    end_time INTEGER,
    exit_code INTEGER,
    diag TEXT NOT NULL,
    panda_ids TEXT NOT NULL,
    modified INTEGER NOT NULL,
    PRIMARY KEY (harvester_id, worker_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX worker_by_queue ON worker (queue, status)
    WHERE status NOT IN ('finished', 'failed', 'cancelled', 'missed');

-- A server database in PostgreSQL as a program with schema 1 left it.
CREATE TABLE ailurus_migration (
    number BIGINT PRIMARY KEY, name TEXT NOT NULL,
    applied TIMESTAMPTZ NOT NULL DEFAULT now());
INSERT INTO ailurus_migration (number, name) VALUES (1, 'server tables');
CREATE TABLE attempt (
    panda_id BIGINT NOT NULL,
    attempt_nr BIGINT NOT NULL,
    task_id BIGINT NOT NULL,
    seed BIGINT NOT NULL,
    queue TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    pilot_id TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    sent BIGINT NOT NULL,
    started BIGINT,
    ended BIGINT,
    payload_exit_code BIGINT,
    pilot_error_code BIGINT,
    pilot_error_diag TEXT COLLATE "C",
    payload_error_code BIGINT,
    payload_error_diag TEXT COLLATE "C",
    server_error_code BIGINT,
    server_error_diag TEXT COLLATE "C",
    diagnosis TEXT COLLATE "C" NOT NULL,
    cpu_secs BIGINT,
    rss_max BIGINT,
    timing TEXT COLLATE "C" NOT NULL,
    log_surl TEXT COLLATE "C" NOT NULL,
    pilot_log TEXT COLLATE "C" NOT NULL,
    UNIQUE (panda_id, attempt_nr)
);
CREATE TABLE counter (
    name TEXT COLLATE "C" PRIMARY KEY,
    last BIGINT NOT NULL
);
CREATE TABLE dataset (
    name TEXT COLLATE "C" PRIMARY KEY,
    producer BIGINT,
    n_parts BIGINT NOT NULL
);
CREATE TABLE file (
    id BIGINT PRIMARY KEY,
    dataset TEXT COLLATE "C" NOT NULL,
    part BIGINT NOT NULL,
    lfn TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    guid TEXT COLLATE "C",
    size BIGINT,
    checksum TEXT COLLATE "C",
    surl TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    producer BIGINT,
    UNIQUE (dataset, part)
);
CREATE TABLE job (
    panda_id BIGINT PRIMARY KEY,
    task_id BIGINT NOT NULL,
    part BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    attempt_nr BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    first_event BIGINT NOT NULL,
    n_events BIGINT NOT NULL,
    queue TEXT COLLATE "C",
    priority BIGINT NOT NULL,
    source_label TEXT COLLATE "C" NOT NULL,
    resource_type TEXT COLLATE "C" NOT NULL,
    cores BIGINT NOT NULL,
    memory BIGINT NOT NULL,
    disk BIGINT NOT NULL,
    walltime_secs BIGINT NOT NULL,
    command TEXT COLLATE "C",
    created BIGINT NOT NULL,
    modified BIGINT NOT NULL,
    state_changed BIGINT NOT NULL,
    harvester_id TEXT COLLATE "C",
    worker_id BIGINT,
    reason TEXT COLLATE "C" NOT NULL
);
CREATE TABLE need (
    panda_id BIGINT NOT NULL,
    input BIGINT NOT NULL,
    part BIGINT NOT NULL,
    dataset TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (panda_id, input, part)
);
CREATE TABLE task (
    id BIGINT PRIMARY KEY,
    "user" TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    chain TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    n_jobs BIGINT NOT NULL,
    next_seed BIGINT NOT NULL,
    created BIGINT NOT NULL,
    state_changed BIGINT NOT NULL
);
CREATE TABLE task_job_count (
    task_id BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    n BIGINT NOT NULL,
    PRIMARY KEY (task_id, status)
);
CREATE TABLE worker (
    harvester_id TEXT COLLATE "C" NOT NULL,
    worker_id BIGINT NOT NULL,
    batch_id TEXT COLLATE "C" NOT NULL,
    queue TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    resource_type TEXT COLLATE "C" NOT NULL,
    job_type TEXT COLLATE "C" NOT NULL,
    core_count BIGINT NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    submit_time BIGINT,
    start_time BIGINT,
    end_time BIGINT,
    exit_code BIGINT,
    diag TEXT COLLATE "C" NOT NULL,
    panda_ids TEXT COLLATE "C" NOT NULL,
    modified BIGINT NOT NULL,
    PRIMARY KEY (harvester_id, worker_id)
);
CREATE TABLE task_input (
    dataset TEXT COLLATE "C" NOT NULL,
    task_id BIGINT NOT NULL REFERENCES task (id),
    PRIMARY KEY (dataset, task_id)
);
CREATE TABLE task_spec (
    task_id BIGINT PRIMARY KEY REFERENCES task (id),
    spec TEXT COLLATE "C" NOT NULL
);
INSERT INTO "attempt" VALUES(7,1,7,2,'JINR','wn7','pilot','running',1795376921123,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',NULL,NULL,'','','');
INSERT INTO "counter" VALUES('file',7);
INSERT INTO "counter" VALUES('job',7);
INSERT INTO "counter" VALUES('task',7);
INSERT INTO "job" VALUES(7,7,0,'running',1,3,0,0,'JINR',900,'managed','SCORE',1,2147483648,0,3600,'"ToBeKilled"',1795376921123,1795376921123,1795376921123,'nica',12,'');
INSERT INTO "task" VALUES(7,'alice','sim','mc26','running',1,3,1795376921123,1795376921123);
INSERT INTO "task_job_count" VALUES(7,'running',1);
INSERT INTO "task_input" VALUES('spd.mc:gen',7);
INSERT INTO "task_spec" VALUES(7,'{"name":"sim","chain":"mc26","user":"alice","scope":"spd.mc","source_label":"managed","processing_type":"simulation","transformation":"sim.py","parameters":"--in {input.gen}","split":{"Files":{"per_job":1}},"inputs":[{"name":"gen","dataset":"spd.mc:gen"}],"outputs":[{"name":"hits","dataset":"spd.mc:hits","lfn":"hits_{seed}.root"}],"resources":{"cores":1,"memory":2147483648,"disk":0,"walltime":{"secs":3600,"nanos":0}},"priority":900,"max_attempts":3,"queues":[]}');
CREATE INDEX task_by_status ON task (status, id);
CREATE INDEX task_by_name ON task ("user", name);
CREATE INDEX task_by_chain ON task (chain, id) WHERE chain <> '';
CREATE INDEX job_by_task ON job (task_id, status, panda_id);
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
CREATE INDEX need_by_part ON need (dataset, part, panda_id);
CREATE INDEX need_expected ON need (panda_id) WHERE status = 'defined';
CREATE INDEX attempt_unsuccessful ON attempt (task_id)
    WHERE status IN ('failed', 'cancelled', 'closed');
CREATE INDEX worker_by_queue ON worker (queue, status)
    WHERE status NOT IN ('finished', 'failed', 'cancelled', 'missed');

-- Workers of Harvester. Times are milliseconds since 1970, UTC.
CREATE TABLE worker (
    harvester_id  TEXT NOT NULL,
    worker_id     INTEGER NOT NULL,
    batch_id      TEXT NOT NULL,
    queue         TEXT NOT NULL,
    status        TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    job_type      TEXT NOT NULL,
    core_count    INTEGER NOT NULL,
    node          TEXT NOT NULL,
    submit_time   INTEGER,
    start_time    INTEGER,
    end_time      INTEGER,
    exit_code     INTEGER,
    diag          TEXT NOT NULL,
    panda_ids     TEXT NOT NULL,              -- numbers with commas between
    retired       INTEGER NOT NULL DEFAULT 0, -- 1: the server has heard of its end
    PRIMARY KEY (harvester_id, worker_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX worker_live ON worker (harvester_id, worker_id) WHERE retired = 0;

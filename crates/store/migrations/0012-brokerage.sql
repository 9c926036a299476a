-- What brokerage and dispatch must know of queues, and the order in which jobs are given out.

-- Jobs of one priority go by their turn; jobs that read one sample have that of its first job.
ALTER TABLE job ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
UPDATE job SET turn = panda_id;
DROP INDEX job_claimable;
-- Dispatch reads this index alone, share by share in its order, until it has found enough.
CREATE INDEX job_claimable ON job (
    queue, global_share, priority DESC, turn, panda_id,
    source_label, memory, disk, walltime_secs, resource_type, task_id
) WHERE status = 'activated';

-- How many jobs that have not ended each queue has. Written with each change of a job, so that it
-- equals the rows it counts, and a million jobs are counted in no time.
CREATE TABLE queue_load (
    queue TEXT NOT NULL,
    share TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    status TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    cores INTEGER NOT NULL,
    PRIMARY KEY (queue, share, resource_type, status)
) STRICT, WITHOUT ROWID;
INSERT INTO queue_load (queue, share, resource_type, status, jobs, cores)
    SELECT queue, global_share, resource_type, status, count(*), sum(cores) FROM job
    WHERE queue IS NOT NULL AND status NOT IN ('finished', 'failed', 'cancelled', 'closed')
    GROUP BY queue, global_share, resource_type, status;

-- When something last happened at a queue, in milliseconds since 1970.
CREATE TABLE queue_pulse (
    queue TEXT PRIMARY KEY,
    pilot_seen INTEGER,
    job_started INTEGER
) STRICT;

-- How the jobs of a task fared at each queue.
CREATE TABLE task_place (
    task_id INTEGER NOT NULL,
    queue TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    closed INTEGER NOT NULL,
    PRIMARY KEY (task_id, queue)
) STRICT, WITHOUT ROWID;

-- Samples that many jobs read, and how many jobs were sent where to read them.
CREATE TABLE mixture (
    sample TEXT PRIMARY KEY,
    turn INTEGER NOT NULL
) STRICT;
CREATE TABLE mixture_place (
    sample TEXT NOT NULL,
    queue TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    PRIMARY KEY (sample, queue)
) STRICT, WITHOUT ROWID;

-- Leaves of global shares by need.
CREATE TABLE share_order (
    place INTEGER PRIMARY KEY,
    leaf TEXT NOT NULL
) STRICT;

-- What a Harvester says of a worker beside what decisions rest on, as JSON.
ALTER TABLE worker ADD COLUMN detail TEXT;

-- What the pilot in a worker said of itself.
CREATE TABLE worker_pilot (
    harvester_id TEXT NOT NULL,
    worker_id INTEGER NOT NULL,
    phase TEXT NOT NULL,
    started INTEGER,
    ended INTEGER,
    changed INTEGER NOT NULL,
    synced INTEGER,
    PRIMARY KEY (harvester_id, worker_id)
) STRICT;

-- Harvester instances that were heard of.
CREATE TABLE harvester_instance (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    host TEXT NOT NULL,
    started INTEGER,
    version TEXT NOT NULL,
    source_commit TEXT NOT NULL,
    heard INTEGER NOT NULL
) STRICT;

-- Messages of instances for people.
CREATE TABLE harvester_dialog (
    harvester_id TEXT NOT NULL,
    id INTEGER NOT NULL,
    module TEXT NOT NULL,
    identifier TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (harvester_id, id)
) STRICT;
CREATE INDEX harvester_dialog_by_age ON harvester_dialog (created);

-- What instances measured of their machines, as JSON.
CREATE TABLE harvester_metrics (
    harvester_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    host TEXT NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (harvester_id, created, host)
) STRICT;
CREATE INDEX harvester_metrics_by_age ON harvester_metrics (created);

-- How many slots people want at a queue. An empty share or class means all.
CREATE TABLE target_slots (
    queue TEXT NOT NULL,
    global_share TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    slots INTEGER NOT NULL,
    expires INTEGER,
    modified INTEGER NOT NULL,
    PRIMARY KEY (queue, global_share, resource_type)
) STRICT;

-- Worker nodes as pilots describe them.
CREATE TABLE worker_node (
    site TEXT NOT NULL,
    host TEXT NOT NULL,
    cpu_model TEXT NOT NULL,
    queue TEXT NOT NULL,
    n_logical_cpus INTEGER NOT NULL,
    n_sockets INTEGER NOT NULL,
    cores_per_socket INTEGER NOT NULL,
    threads_per_core INTEGER NOT NULL,
    cpu_architecture TEXT NOT NULL,
    cpu_architecture_level TEXT NOT NULL,
    clock_mhz REAL NOT NULL,
    memory INTEGER NOT NULL,
    disk INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (site, host, cpu_model)
) STRICT;

-- GPUs of worker nodes.
CREATE TABLE worker_node_gpu (
    site TEXT NOT NULL,
    host TEXT NOT NULL,
    vendor TEXT NOT NULL,
    model TEXT NOT NULL,
    n_gpus INTEGER NOT NULL,
    memory INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    framework TEXT NOT NULL,
    framework_version TEXT NOT NULL,
    driver_version TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (site, host, vendor, model)
) STRICT;

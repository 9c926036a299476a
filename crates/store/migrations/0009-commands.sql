-- Commands to Harvester instances. Parameters are JSON text, empty for none.
CREATE TABLE harvester_command (
    id INTEGER PRIMARY KEY,
    harvester_id TEXT NOT NULL,
    command TEXT NOT NULL,
    params TEXT NOT NULL,
    ack_wanted INTEGER NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL,
    status_changed INTEGER NOT NULL
) STRICT;
CREATE INDEX harvester_command_new ON harvester_command (harvester_id, id) WHERE status = 'new';
CREATE INDEX harvester_command_by_text ON harvester_command (harvester_id, command);
CREATE INDEX harvester_command_by_age ON harvester_command (status_changed);
INSERT INTO counter (name, last) VALUES ('command', 0);

-- How many workers each instance has at each queue, as JSON by job type, resource type and status.
CREATE TABLE worker_statistics (
    queue TEXT NOT NULL,
    harvester_id TEXT NOT NULL,
    counts TEXT NOT NULL,
    reported INTEGER NOT NULL,
    PRIMARY KEY (queue, harvester_id)
) STRICT;

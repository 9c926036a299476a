-- Jobs that have been in one state for long: what watchdogs look for.
CREATE INDEX job_starting_since ON job (state_changed, panda_id) WHERE status = 'starting';
CREATE INDEX job_running_since ON job (state_changed, panda_id) WHERE status = 'running';
CREATE INDEX job_direct_since ON job (created, panda_id)
    WHERE kind = 'direct' AND status IN ('pending', 'defined', 'assigned', 'activated');

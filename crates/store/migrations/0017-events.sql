-- Ranges of events that jobs take one after the other, and files that have outputs of several.
CREATE TABLE event_range (
    panda_id INTEGER NOT NULL,
    file_id INTEGER NOT NULL,
    first_event INTEGER NOT NULL,
    last_event INTEGER NOT NULL,
    attempt_nr INTEGER NOT NULL,
    attempts_left INTEGER NOT NULL,
    status TEXT NOT NULL,
    held_by INTEGER NOT NULL,
    object_store TEXT NOT NULL,
    path_convention INTEGER,
    archive TEXT NOT NULL,
    error_code INTEGER,
    error_diag TEXT NOT NULL,
    PRIMARY KEY (panda_id, file_id, first_event)
) STRICT, WITHOUT ROWID;
-- What is given out next.
CREATE INDEX event_range_ready ON event_range (panda_id, file_id, first_event)
    WHERE status = 'ready';

CREATE TABLE event_archive (
    panda_id INTEGER NOT NULL,
    lfn TEXT NOT NULL,
    size INTEGER NOT NULL,
    checksum TEXT,
    object_store TEXT NOT NULL,
    n_events INTEGER,
    PRIMARY KEY (panda_id, lfn)
) STRICT, WITHOUT ROWID;

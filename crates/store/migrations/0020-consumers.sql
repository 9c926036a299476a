-- Which job has a range of events: several of one set may take them side by side.
ALTER TABLE event_range ADD COLUMN holder INTEGER NOT NULL DEFAULT 0;

CREATE TABLE event_member (
    panda_id INTEGER PRIMARY KEY,
    set_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX event_member_set ON event_member (set_id);

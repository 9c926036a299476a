-- How far each reader of the history has come, and which server reads on for it.
CREATE TABLE history_cursor (
    name TEXT PRIMARY KEY,
    last_change INTEGER NOT NULL,
    holder TEXT NOT NULL,
    held_until INTEGER NOT NULL
) STRICT;

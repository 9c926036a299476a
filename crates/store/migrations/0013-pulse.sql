-- What heartbeats change, one narrow row for each job that a pilot has: when it was heard of, and
-- what its attempt uses. `attempt_nr` is NULL where the attempt's own row says that.
CREATE TABLE pulse (
    panda_id INTEGER PRIMARY KEY,
    heard INTEGER NOT NULL,
    attempt_nr INTEGER,
    cpu_secs INTEGER,
    rss_max INTEGER,
    report TEXT NOT NULL
) STRICT;

-- Numbers of changes go on after the last one.
INSERT INTO counter (name, last) SELECT 'change', coalesce(max(id), 0) FROM history;

-- Files that users sent for their jobs. The files themselves are in the server's cache folder.
CREATE TABLE cache_file (
    name TEXT PRIMARY KEY,
    sender TEXT NOT NULL,
    size INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    created INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_file_by_content ON cache_file (sender, size, checksum);

-- Which tasks need a file.
CREATE TABLE cache_use (
    name TEXT NOT NULL,
    task_id INTEGER NOT NULL,
    PRIMARY KEY (name, task_id)
) STRICT, WITHOUT ROWID;

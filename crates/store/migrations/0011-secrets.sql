-- What people want their payloads to know. The table is alone in holding secrets in clear text:
-- whoever may read the database reads them.
CREATE TABLE user_secret (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;

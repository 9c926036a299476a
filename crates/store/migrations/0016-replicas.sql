-- Further endpoints that hold a file, with commas between them.
ALTER TABLE file ADD COLUMN replicas TEXT NOT NULL DEFAULT '';

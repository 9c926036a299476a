-- What a job is for within its task, and the number in the names of its outputs.
ALTER TABLE job ADD COLUMN kind TEXT NOT NULL DEFAULT 'run';
ALTER TABLE job ADD COLUMN serial INTEGER NOT NULL DEFAULT 0;

//! Chooses a queue for a job, with the reason for each queue.

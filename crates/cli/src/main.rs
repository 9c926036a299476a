//! The command line for people: tasks, jobs and queues.

fn main() {}

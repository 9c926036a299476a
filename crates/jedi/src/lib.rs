//! PanDA's language of tasks: what task parameters mean, and how a task is cut into jobs.

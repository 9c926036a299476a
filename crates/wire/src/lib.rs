//! PanDA's messages in both dialects, queue and storage data, task files: bytes to types and back.

pub mod rest;
pub mod task_file;

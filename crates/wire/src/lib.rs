//! PanDA's messages in both dialects, queue and storage data, task files: bytes to types and back.
//!
//! Everything that comes from outside is judged here, and only here: what leaves this crate is a
//! type of the model, or an error that names field, value and what is allowed. Serde names, `NULL`
//! texts, MB against MiB and truncations stay here too. Nothing here does I/O.
//!
//! From the inside out:
//!
//! | module | is |
//! |---|---|
//! | [`fields`] | one message as named values, and PanDA's rules for reading them |
//! | [`body`] | bytes to fields and back: gzip, JSON, forms |
//! | `table` | a field's name and type in both dialects, as data |
//! | [`python_literal`] | values as Python writes them |
//! | [`v1`], [`answer`] | the frames: v1's checks and envelope, legacy status codes |
//! | [`get_job`], [`job_text`] | asking for jobs, and the job itself |
//! | [`update_job`], [`update_bulk`] | heartbeats, final reports, commands to the pilot |
//! | [`job_status`], [`worker_status`] | what jobs are; pilots that begin and end |
//! | [`node_map`], [`credential_call`], [`debug_mode`], [`resource_types`] | further calls of pilots |
//! | [`job_file`], [`plain_job`] | jobs in files, and as people write them |
//! | [`harvester_files`] | the files by which a pilot and Harvester talk |
//! | [`cloud_event`] | what serverless platforms post |
//! | [`harvester_call`], [`worker_text`] | Harvester's calls and its workers |
//! | [`system_call`] | whether the server is there, job statistics |
//! | [`queue_data`], [`storage_data`] | CRIC's files |
//! | [`rucio`] | the catalogue of replicas |
//! | [`rest`] | Ailurus' own JSON API |
//! | [`task_file`] | what people submit |
//!
//! A server reads a body with [`body::decode_request`], gives the fields to the call's
//! `decode_request`, and writes what the call's `encode_answer` returns with
//! [`Answer::to_body`]. A client writes the fields of `encode_request` with
//! [`body::encode_json`] and reads the answer's bytes with the call's `decode_answer`.

pub mod answer;
pub mod body;
pub mod cloud_event;
mod command_text;
pub mod credential_call;
pub mod debug_mode;
mod decode_anything;
pub mod event_ranges;
pub mod fields;
pub mod get_job;
pub mod harvester_call;
pub mod harvester_files;
pub mod job_file;
mod job_files;
mod job_options;
pub mod job_spec;
pub mod job_status;
pub mod job_text;
pub mod message;
pub mod node_map;
mod output_report;
pub mod plain_job;
pub mod python_literal;
pub mod queue_data;
mod queue_options;
mod queue_terms;
pub mod resource_types;
pub mod rest;
pub mod rucio;
pub mod storage_data;
pub mod system_call;
mod table;
pub mod task_file;
pub mod update_bulk;
pub mod update_job;
pub mod v1;
pub mod worker_status;
pub mod worker_text;

pub use answer::{Answer, AnswerError, LegacyForm, StatusCode};
pub use decode_anything::decode_anything;
pub use fields::{FieldError, Fields};
pub use table::Dialect;
pub use v1::{Envelope, RequestError};

//! The pilot's life, step by step: state, input, expected effects.

mod bench;
mod job_life;
mod parts;
mod pilot_life;
mod properties;
mod rescue;

//! The messages as others see them: golden samples, round trips, and bytes that mean nothing.

mod any_bytes;
mod generators;
mod golden;
mod hostile;
mod round_trip;
mod rucio;
mod samples;

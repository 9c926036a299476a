//! Starts, watches and ends payload processes; nothing outlives the pilot.

//! Profiles: what an experiment needs of a pilot, as data.

//! Moves files, computes their checksums in the same pass, packs the log archive.

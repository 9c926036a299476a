//! Decides how many workers each queue should have.

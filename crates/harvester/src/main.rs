//! Keeps the right number of pilots on batch systems.

fn main() {}

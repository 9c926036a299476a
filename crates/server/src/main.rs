//! The server: PanDA's HTTP API in both dialects over an embedded database.

fn main() {}

//! The agent on a worker node: wires cores and adapters, parses arguments, gives the exit code.

fn main() {}

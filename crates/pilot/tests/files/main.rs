//! The real pilot without a server: Harvester's files, several nodes, `once`, `function`.

mod function;
mod harvester;
mod nodes;
mod once;
mod server;
mod workbench;

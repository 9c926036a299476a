//! Rows that survive: the server's ledger and Harvester's workers in SQLite.

//! Batch systems behind one port: submit, query many, cancel.

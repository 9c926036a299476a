//! Gives any bytes to every decoder of the wire crate: none may panic or hang.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ailurus_wire::decode_anything(bytes));

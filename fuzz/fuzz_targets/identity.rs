//! Bytes of a client's certificate: proxies and VOMS attributes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    drop(ailurus_identity::voms::read(bytes));
    drop(ailurus_identity::chain::read_proxy_info(bytes));
    if let Ok(chain) = ailurus_identity::chain::parse([bytes].into_iter()) {
        drop(ailurus_identity::chain::walk(&chain, 1_800_000_000));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let compact = ailurus_identity::name::compact(text);
        assert!(compact.len() <= text.len());
        ailurus_identity::name::bare(text);
        ailurus_identity::token::split_origin(text);
    }
});

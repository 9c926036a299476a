//! Gives any bytes to what reads single files out of an archive that a user sent.

#![no_main]

#[path = "../../crates/server/src/sandbox.rs"]
mod sandbox;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let names = ["workflow.cwl", "./sub/values.yml"];
    // As it came, and as what is packed in it: few changes of packed bytes can be unpacked.
    drop(sandbox::read_texts(bytes, &names));
    let packed = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    if let Ok(texts) = sandbox::read_texts(packed, &names) {
        assert!(texts.keys().all(|name| names.contains(&name.as_str())));
    }
});

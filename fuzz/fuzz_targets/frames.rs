//! Gives any bytes, in pieces of any size, to what reads a message broker's frames.

#![no_main]

use ailurus_stomp::Decoder;

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = frames(std::iter::once(bytes));
    // How the bytes were cut on the way makes no difference.
    assert_eq!(frames(bytes.chunks(usize::from(size).max(1))), whole);
    for frame in &whole {
        let mut again = Decoder::default();
        again.push(&frame.encode());
        if let Ok(Some(read)) = again.next_frame() {
            assert_eq!(read.body.len(), frame.body.len());
        }
    }
});

/// The frames before the first that is none.
fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<ailurus_stomp::Frame> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    found
}

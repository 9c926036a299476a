//! Compression of request bodies.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

/// Compresses a request body, for `Content-Encoding: gzip`.
#[must_use]
pub fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .expect("memory takes all that is written to it")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_compressed_body_can_be_read_again() {
        let body = b"{\"state\": \"running\"}".repeat(100);
        let compressed = gzipped(&body);
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(compressed.as_slice())
            .read_to_end(&mut read)
            .expect("gzip");
        assert_eq!(read, body);
        assert!(compressed.len() < body.len() / 10);
    }
}

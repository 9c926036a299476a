//! Checksums in HTTP headers.
//!
//! Source: RFC 3230 (`Digest`, as grid storages answer it), RFC 9530 (`Repr-Digest`). Storages
//! disagree about hexadecimal and base64, so both are read.

use ailurus_http::Answer;
use ailurus_model::Checksum;
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::checksum::ChecksumKind;

/// Header by which a checksum of the stored file is asked for, and the algorithm's name.
pub(crate) const fn wanted(kind: ChecksumKind) -> (&'static str, &'static str) {
    let name = match kind {
        ChecksumKind::Adler32 => "adler32",
        ChecksumKind::Md5 => "md5",
        ChecksumKind::Sha256 => "sha-256",
    };
    ("Want-Digest", name)
}

/// Reads all checksums that an answer tells of the whole file.
pub(crate) fn told(answer: &Answer) -> Vec<Checksum> {
    // `Content-Digest` would be of what was sent, which may be a part.
    ["Digest", "Repr-Digest"]
        .iter()
        .flat_map(|name| answer.headers(name))
        .flat_map(read)
        .collect()
}

fn read(header: &str) -> Vec<Checksum> {
    header
        .split(',')
        .filter_map(|item| {
            let (name, value) = item.trim().split_once('=')?;
            checksum(name.trim(), value.trim())
        })
        .collect()
}

fn checksum(name: &str, value: &str) -> Option<Checksum> {
    // `:base64:` in RFC 9530.
    let value = value.trim_matches(':');
    match name.to_ascii_lowercase().as_str() {
        "adler32" | "adler" => {
            let digits = digits(value, 4)?;
            u32::from_str_radix(&digits, 16).ok().map(Checksum::Adler32)
        }
        "md5" => digits(value, 16).map(Checksum::Md5),
        "sha-256" => digits(value, 32).map(Checksum::Sha256),
        _ => None,
    }
}

/// Returns a value of so many bytes as hexadecimal digits.
fn digits(value: &str, n_bytes: usize) -> Option<String> {
    let is_hex = value.bytes().all(|it| it.is_ascii_hexdigit());
    // Some storages leave out leading zeros of Adler-32.
    let is_short = n_bytes == 4 && (1..=8).contains(&value.len());
    if is_hex && (value.len() == 2 * n_bytes || is_short) {
        return Some(value.to_ascii_lowercase());
    }
    let bytes = BASE64_STANDARD.decode(value).ok()?;
    let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
    (bytes.len() == n_bytes).then(|| hex.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_all_kinds_are_read() {
        let told = |header: &str| {
            let found: Vec<String> = read(header).iter().map(ToString::to_string).collect();
            found.join(" ")
        };
        for (header, checksums) in [
            ("adler32=e1c9dce7", "ad:e1c9dce7"),
            ("ADLER32=E1C9DCE7", "ad:e1c9dce7"),
            ("adler32=1", "ad:00000001"),
            ("adler32=4cnc5w==", "ad:e1c9dce7"),
            ("adler=:4cnc5w==:", "ad:e1c9dce7"),
            (
                "md5=kAFQmDzST7DWlj99KOF/cg==",
                "md:900150983cd24fb0d6963f7d28e17f72",
            ),
            (
                "md5=900150983cd24fb0d6963f7d28e17f72",
                "md:900150983cd24fb0d6963f7d28e17f72",
            ),
            ("unixsum=1, adler32=00000001 , md5=?", "ad:00000001"),
            ("", ""),
            ("adler32=", ""),
            ("adler32=+1", ""),
            ("adler32=0123456789", ""),
            ("md5=AAAA", ""),
        ] {
            assert_eq!(told(header), checksums, "{header}");
        }
        assert!(
            told("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")
                .starts_with("sha256:e3b0c442")
        );
    }
}

//! Paths in URLs: percent encoding, and the path of a whole URL.

use std::fmt::Write as _;

/// Encodes a path for a URL; slashes stay.
pub(super) fn encode(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Returns the decoded path of a request's target or of a whole URL, without the query and without
/// a slash at its end.
pub(super) fn decode(target: &str) -> String {
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => target,
    };
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..2).and_then(|code| str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            Some(_) | None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    let path = String::from_utf8_lossy(&bytes).into_owned();
    match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() => shorter.to_owned(),
        Some(_) | None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_come_back_from_a_url() {
        for path in ["/a", "/a b/ü%2F\n?#", "/100%", "/"] {
            assert_eq!(decode(&encode(path)), path);
        }
        assert_eq!(decode("http://host:1/a%20b/?x=y"), "/a b");
        assert_eq!(decode("/%zz%"), "/%zz%");
    }
}

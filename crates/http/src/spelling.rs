//! How header names are spelled on the wire.
//!
//! Names of headers mean the same in upper and lower case, and our library sends them in lower
//! case. XRootD 5.5 knows `Content-Length` and `Source` only as they are usually written: a file
//! whose length it does not read is stored empty. So the head of a request is rewritten in place
//! before it leaves, name by name, to what the caller wrote, or else to capitals after dashes.

use std::cell::RefCell;

thread_local! {
    /// The names of the next head that this thread sends.
    static NAMES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Remembers the spelling of the next head's names.
pub(crate) fn expect_head<'a>(names: impl Iterator<Item = &'a str>) {
    let names = names.map(str::to_owned).collect();
    NAMES.with(|it| it.replace(Some(names)));
}

/// Spells the head in `output`, if the next thing that this thread sends is one.
pub(crate) fn spell_head(output: &mut [u8]) {
    if output.starts_with(b"CONNECT ") {
        // A proxy is spoken to first.
        return;
    }
    if let Some(names) = NAMES.with(RefCell::take) {
        spell(output, &names);
    }
}

fn spell(head: &mut [u8], names: &[String]) {
    for line in head.split_mut(|byte| *byte == b'\n').skip(1) {
        let Some(end) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = &mut line[..end];
        let written = names
            .iter()
            .map(|it| it.as_bytes())
            .find(|it| it.eq_ignore_ascii_case(name));
        if let Some(written) = written {
            name.copy_from_slice(written);
            continue;
        }
        let mut is_start = true;
        for byte in name {
            if is_start {
                byte.make_ascii_uppercase();
            }
            is_start = *byte == b'-';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_written_or_as_usual_and_values_are_left() {
        let mut head = b"PUT /a:b HTTP/1.1\r\nhost: a-b:1\r\ncontent-length: 5\r\n\
            transferheaderauthorization: x: y\r\n\r\n"
            .to_vec();
        expect_head(["TransferHeaderAuthorization"].into_iter());
        spell_head(&mut head);
        let text = String::from_utf8(head).expect("text");
        assert_eq!(
            text,
            "PUT /a:b HTTP/1.1\r\nHost: a-b:1\r\nContent-Length: 5\r\n\
             TransferHeaderAuthorization: x: y\r\n\r\n"
        );
        // A body is nobody's head.
        let mut body = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
        spell_head(&mut body);
        assert_eq!(body, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    }
}

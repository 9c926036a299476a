//! DNS messages: a question for addresses as bytes, and the addresses of an answer.
//!
//! Only what a stub resolver needs. Source: RFC 1035, section 4; RFC 3596.

use std::net::IpAddr;

/// Longest name in its dotted form. Source: RFC 1035, section 2.3.4.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;
const HEADER_BYTES: usize = 12;
const CLASS_IN: u16 = 1;
const RECURSION_DESIRED: u16 = 0x0100;
const IS_RESPONSE: u16 = 0x8000;
const IS_TRUNCATED: u16 = 0x0200;
const CODE_MASK: u16 = 0x000f;
const CODE_NO_SUCH_NAME: u16 = 3;

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordType {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl RecordType {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// One question, to be asked and to be compared with what comes back.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// Chosen by chance, so that strangers cannot answer.
    pub(super) id: u16,
    pub(super) name: String,
    pub(super) record: RecordType,
}

/// What a server says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// These are the addresses; there may be none of this kind.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// There is more than fits: ask by TCP.
    Truncated,
    /// The server cannot or will not say; another one may.
    ServerFailed,
    /// The message is no answer to this question.
    Unrelated,
}

/// Says whether a text can be a host's name. Others are never asked for, and never given to a
/// program.
pub(super) fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= NAME_MAX && name.split('.').all(is_label)
}

impl Question {
    /// Returns the message; the name must be a host's ([`is_host_name`]).
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.name.len() + 6);
        for number in [self.id, RECURSION_DESIRED, 1, 0, 0, 0] {
            bytes.extend(number.to_be_bytes());
        }
        for label in self.name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap_or_default());
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes.extend(self.record.number().to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        bytes
    }

    /// Reads what a server sent.
    pub(super) fn read_answer(&self, bytes: &[u8]) -> Answer {
        self.parse(bytes).unwrap_or(Answer::Unrelated)
    }

    fn parse(&self, bytes: &[u8]) -> Option<Answer> {
        let mut reader = Reader { bytes, at: 0 };
        let id = reader.number()?;
        let flags = reader.number()?;
        let questions = reader.number()?;
        let answers = reader.number()?;
        reader.skip(4)?;
        if id != self.id || flags & IS_RESPONSE == 0 || questions != 1 {
            return None;
        }
        let asked = &self.to_bytes()[HEADER_BYTES..];
        if !reader.take(asked.len())?.eq_ignore_ascii_case(asked) {
            return None;
        }
        match flags & CODE_MASK {
            0 => {}
            CODE_NO_SUCH_NAME => return Some(Answer::NoSuchName),
            _ => return Some(Answer::ServerFailed),
        }
        if flags & IS_TRUNCATED != 0 {
            return Some(Answer::Truncated);
        }
        let mut found = Vec::new();
        for _ in 0..answers {
            reader.skip_name()?;
            let record = reader.number()?;
            let class = reader.number()?;
            reader.skip(4)?;
            let length = reader.number()?;
            let data = reader.take(usize::from(length))?;
            // Aliases stand before the addresses of what they lead to; those are what counts.
            if class == CLASS_IN && record == self.record.number() {
                found.push(address(data)?);
            }
        }
        Some(Answer::Addresses(found))
    }
}

fn address(data: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(data) {
        return Some(bytes.into());
    }
    <[u8; 16]>::try_from(data).ok().map(IpAddr::from)
}

/// Reads a message from front to back; nothing is read past its end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let part = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(part)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(drop)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    /// Passes over a name. Pointers are not followed: what they point to is not needed.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            let length = *self.take(1)?.first()?;
            match length {
                0 => return Some(()),
                1..=63 => self.skip(usize::from(length))?,
                0xc0.. => return self.skip(1),
                64..0xc0 => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question {
            id: 7,
            name: "panda.jinr.ru".to_owned(),
            record: RecordType::A,
        }
    }

    /// An answer with an alias and then one address.
    fn good_answer() -> Vec<u8> {
        let mut bytes = question().to_bytes();
        bytes[2] |= 0x80;
        bytes[7] = 2;
        bytes.extend(*b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c");
        bytes.extend(*b"\x01x\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x09");
        bytes
    }

    #[test]
    fn the_address_behind_an_alias_is_found() {
        assert_eq!(
            question().read_answer(&good_answer()),
            Answer::Addresses(vec!["192.0.2.9".parse().unwrap()])
        );
    }

    #[test]
    fn an_answer_to_another_question_is_unrelated() {
        let mut other = question();
        other.id = 8;
        assert_eq!(other.read_answer(&good_answer()), Answer::Unrelated);
        let mut other = question();
        other.name = "evil.jinr.ru".to_owned();
        assert_eq!(other.read_answer(&good_answer()), Answer::Unrelated);
        assert_eq!(
            question().read_answer(&question().to_bytes()),
            Answer::Unrelated
        );
    }

    #[test]
    fn the_codes_of_a_server_are_told_apart() {
        let with_code = |code: u8| {
            let mut bytes = good_answer();
            bytes[3] |= code;
            question().read_answer(&bytes)
        };
        assert_eq!(with_code(3), Answer::NoSuchName);
        assert_eq!(with_code(2), Answer::ServerFailed);
        assert_eq!(with_code(5), Answer::ServerFailed);
        let mut bytes = good_answer();
        bytes[2] |= 0x02;
        assert_eq!(question().read_answer(&bytes), Answer::Truncated);
    }

    #[test]
    fn names_that_no_host_can_have_are_refused() {
        for name in ["", ".", "a..b", "-x", "a b", "a;b", "$(id)", "é.org"] {
            assert!(!is_host_name(name), "{name}");
        }
        assert!(!is_host_name(&"a".repeat(64)));
        assert!(!is_host_name(&["abcdefgh"; 40].join(".")));
        assert!(is_host_name("node_7.jinr.ru."));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_reader(
            tail in proptest::collection::vec(any::<u8>(), 0..200),
            keep in 0_usize..80,
        ) {
            let mut bytes = good_answer();
            bytes.truncate(keep);
            bytes.extend(tail);
            drop(question().read_answer(&bytes));
        }
    }
}

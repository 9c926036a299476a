//! STOMP's frames: bytes to [`Frame`] and back.
//!
//! [`Decoder`] takes bytes as they come. Heart-beats between frames are skipped. A frame is bounded,
//! so that a peer cannot make it grow for ever.

/// Longest head of a frame, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// Longest body of a frame, in bytes.
const BODY_MAX: usize = 16 << 20;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// The command, for example `SEND`.
    pub command: String,
    /// Headers in their order. Of several with one name the first counts.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What came is not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The head does not end.
    #[error("the head of a frame is longer than {HEAD_MAX} bytes")]
    HeadTooLong,
    /// The body does not end, or is announced to be too long.
    #[error("the body of a frame is longer than {BODY_MAX} bytes")]
    BodyTooLong,
    /// The head is not text.
    #[error("the head of a frame is not UTF-8")]
    NotText,
    /// A line of the head has no colon, or an unknown escape.
    #[error("`{line}` is not a header of a frame")]
    Header {
        /// The line.
        line: String,
    },
    /// The announced length is no number, or no zero byte stands after the body.
    #[error("the length of a frame's body is wrong")]
    Length,
}

impl Frame {
    /// Makes a frame without headers and body.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a body and its length.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.with("content-length", length)
    }

    /// Returns the first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the bytes of the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 256);
        bytes.extend_from_slice(self.command.as_bytes());
        bytes.push(b'\n');
        let is_plain = is_unescaped(&self.command);
        for (name, value) in &self.headers {
            for (text, end) in [(name, b':'), (value, b'\n')] {
                if is_plain {
                    bytes.extend(text.bytes().filter(|byte| !b"\r\n\0".contains(byte)));
                } else {
                    escape(text, &mut bytes);
                }
                bytes.push(end);
            }
        }
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes.push(0);
        bytes
    }
}

/// The frames whose headers know no escapes, for the sake of STOMP 1.0.
fn is_unescaped(command: &str) -> bool {
    matches!(command, "CONNECT" | "CONNECTED")
}

fn escape(text: &str, into: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => into.extend_from_slice(b"\\\\"),
            b'\n' => into.extend_from_slice(b"\\n"),
            b'\r' => into.extend_from_slice(b"\\r"),
            b':' => into.extend_from_slice(b"\\c"),
            // A zero byte would end the frame, and no escape is there for it.
            0 => {}
            byte => into.push(byte),
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        plain.push(match letters.next()? {
            '\\' => '\\',
            'n' => '\n',
            'r' => '\r',
            'c' => ':',
            _ => return None,
        });
    }
    Some(plain)
}

/// Puts frames together from bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Takes bytes that have come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next whole frame, none if more bytes are wanted.
    ///
    /// # Errors
    ///
    /// What came is not a frame. Nothing that follows can be read either.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let beats = self.bytes.iter().take_while(|byte| b"\r\n".contains(byte));
        let beats = beats.count();
        self.bytes.drain(..beats);
        let Some((head_length, body_start)) = end_of_head(&self.bytes) else {
            return if self.bytes.len() > HEAD_MAX {
                Err(FrameError::HeadTooLong)
            } else {
                Ok(None)
            };
        };
        if head_length > HEAD_MAX {
            return Err(FrameError::HeadTooLong);
        }
        let mut frame = decode_head(&self.bytes[..head_length])?;
        let Some(length) = body_length(&frame, &self.bytes[body_start..])? else {
            return Ok(None);
        };
        let end = body_start + length;
        frame.body = self.bytes[body_start..end].to_vec();
        self.bytes.drain(..=end);
        Ok(Some(frame))
    }
}

/// Finds the empty line: where the head ends, and where the body begins.
fn end_of_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut start = 0;
    loop {
        let line = bytes[start..].iter().position(|byte| *byte == b'\n')?;
        if matches!(&bytes[start..start + line], b"" | b"\r") {
            return Some((start, start + line + 1));
        }
        start += line + 1;
    }
}

fn decode_head(head: &[u8]) -> Result<Frame, FrameError> {
    let text = std::str::from_utf8(head).map_err(|_| FrameError::NotText)?;
    let mut lines = text
        .split_terminator('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut frame = Frame::new(lines.next().unwrap_or_default());
    let is_plain = is_unescaped(&frame.command);
    for line in lines {
        let wrong = || FrameError::Header {
            line: line.chars().take(200).collect(),
        };
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let read = |text: &str| {
            if is_plain {
                Some(text.to_owned())
            } else {
                unescape(text)
            }
        };
        let header = read(name).zip(read(value)).ok_or_else(wrong)?;
        frame.headers.push(header);
    }
    Ok(frame)
}

/// Finds the length of the body, none if it has not come whole.
fn body_length(frame: &Frame, rest: &[u8]) -> Result<Option<usize>, FrameError> {
    if let Some(announced) = frame.header("content-length") {
        let length: usize = announced.trim().parse().map_err(|_| FrameError::Length)?;
        if length > BODY_MAX {
            return Err(FrameError::BodyTooLong);
        }
        return match rest.get(length) {
            None => Ok(None),
            Some(0) => Ok(Some(length)),
            Some(_) => Err(FrameError::Length),
        };
    }
    match rest.iter().position(|byte| *byte == 0) {
        Some(length) if length <= BODY_MAX => Ok(Some(length)),
        None if rest.len() <= BODY_MAX => Ok(None),
        Some(_) | None => Err(FrameError::BodyTooLong),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        decoder.next_frame()
    }

    #[test]
    fn a_frame_without_a_length_ends_at_the_zero_byte() {
        let frame = decode(b"\n\r\nMESSAGE\r\na:b\\c\\n\na:second\n\nbody\0").unwrap();
        let frame = frame.expect("it is whole");
        assert_eq!(frame.header("a"), Some("b:\n"));
        assert_eq!(frame.body, b"body");
    }

    #[test]
    fn a_body_with_a_length_may_hold_zero_bytes() {
        let frame = Frame::new("SEND").with_body(vec![1, 0, 2]);
        assert_eq!(decode(&frame.encode()).unwrap(), Some(frame));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(
            decode(b"SEND\nno colon\n\n\0").unwrap_err(),
            FrameError::Header {
                line: "no colon".into()
            }
        );
        assert!(decode(b"SEND\na:\\t\n\n\0").is_err());
        assert_eq!(
            decode(b"SEND\ncontent-length:1\n\nab\0"),
            Err(FrameError::Length)
        );
        assert_eq!(
            decode(b"SEND\ncontent-length:99999999999\n\n"),
            Err(FrameError::BodyTooLong)
        );
        assert_eq!(
            decode(&vec![b'x'; HEAD_MAX + 1]),
            Err(FrameError::HeadTooLong)
        );
        assert_eq!(
            decode(b"HTTP/1.1 400 Bad\xff\n\n\0"),
            Err(FrameError::NotText)
        );
    }

    proptest! {
        #[test]
        fn frames_survive_the_way_in_any_pieces(
            value in "[^\0]{0,40}",
            body in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 1_usize..20,
        ) {
            let frame = Frame::new("SEND").with("destination", value).with_body(body);
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            let bytes: Vec<u8> = [frame.encode(), b"\n".to_vec(), frame.encode()].concat();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                found.extend(decoder.next_frame().unwrap());
            }
            found.extend(decoder.next_frame().unwrap());
            prop_assert_eq!(found, vec![frame.clone(), frame]);
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(decode(&bytes));
        }
    }
}

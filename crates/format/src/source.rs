//! Where the bytes come from: whoever checks a file gives its length and reads pieces of it.
//!
//! [`Source`] is all that this crate knows of files. [`Input`] reads small things through one
//! bounded window; [`Section`] is a bounded part as a stream for decoders.

use std::io;

/// Most bytes that are kept of a source at once, and most that one small thing may have.
const WINDOW_MAX: usize = 64 << 10;
/// Bytes that are read at once where the next thing lies far away.
const GLANCE: usize = 512;

/// A file, or what stands for one, as long as it is checked.
pub trait Source: Sync {
    /// Returns the number of bytes.
    fn length(&self) -> u64;

    /// Fills the buffer with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// They cannot be read, or the source has become shorter.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError>;
}

/// Bytes cannot be read. This says nothing about the format of the file.
#[derive(Debug, thiserror::Error)]
#[error("{length} bytes at {offset} cannot be read")]
pub struct ReadError {
    /// Where, in bytes from the beginning.
    pub offset: u64,
    /// How many bytes.
    pub length: usize,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

impl Source for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = self.get(from..from.saturating_add(buffer.len()));
        let part = part.ok_or_else(|| ReadError {
            offset,
            length: buffer.len(),
            source: io::ErrorKind::UnexpectedEof.into(),
        })?;
        buffer.copy_from_slice(part);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn length(&self) -> u64 {
        self.as_slice().length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.as_slice().read_at(offset, buffer)
    }
}

/// Why a look at some bytes ended early.
#[derive(Debug)]
pub(crate) enum Fault {
    /// They could not be had.
    Read(ReadError),
    /// They are not what they must be.
    Damaged(&'static str),
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// What a thing that lies partly behind the end of the file is told to be.
pub(crate) const BEHIND_END: &str = "it reaches behind the end of the file";

/// Lets read errors through and gives what is wrong with the bytes to the caller.
pub(crate) fn judged<T>(looked: Result<T, Fault>) -> Result<Result<T, &'static str>, ReadError> {
    match looked {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Damaged(why)) => Ok(Err(why)),
        Err(Fault::Read(error)) => Err(error),
    }
}

/// Small things of a source, through one window.
pub(crate) struct Input<'a> {
    source: &'a dyn Source,
    length: u64,
    window: Vec<u8>,
    start: u64,
}

impl<'a> Input<'a> {
    pub(crate) fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            length: source.length(),
            window: Vec::new(),
            start: 0,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn source(&self) -> &'a dyn Source {
        self.source
    }

    /// Returns some bytes, which must be no more than the window has.
    ///
    /// A place that follows closely on the last one is taken for the next step of a walk, for
    /// which more is read at once.
    pub(crate) fn bytes(&mut self, at: u64, n_bytes: usize) -> Result<&[u8], Fault> {
        let end = at.checked_add(n_bytes as u64);
        if n_bytes > WINDOW_MAX || end.is_none_or(|end| end > self.length) {
            return Err(Fault::Damaged(BEHIND_END));
        }
        let held = at.checked_sub(self.start);
        let held = held.and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = held
            && skip.saturating_add(n_bytes) <= self.window.len()
        {
            return Ok(&self.window[skip..skip + n_bytes]);
        }
        let is_near = held.is_some_and(|skip| skip <= self.window.len() + GLANCE);
        let ahead = if is_near { WINDOW_MAX } else { GLANCE };
        let left = usize::try_from(self.length - at).unwrap_or(usize::MAX);
        self.window.resize(ahead.max(n_bytes).min(left), 0);
        self.start = at;
        if let Err(error) = self.source.read_at(at, &mut self.window) {
            self.window.clear();
            return Err(error.into());
        }
        Ok(&self.window[..n_bytes])
    }
}

/// A part of a source as a stream. It keeps the first read error, which decoders disguise.
pub(crate) struct Section<'a> {
    source: &'a dyn Source,
    at: u64,
    end: u64,
    error: Option<ReadError>,
}

impl<'a> Section<'a> {
    /// Makes a stream of the bytes from `at` to before `end`, which must be within the source.
    pub(crate) fn new(source: &'a dyn Source, at: u64, end: u64) -> Self {
        let end = end.min(source.length());
        Self {
            source,
            at: at.min(end),
            end,
            error: None,
        }
    }

    /// Returns where the next byte comes from.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Returns how many bytes are left.
    pub(crate) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// Says what a decoder's error was about: the source, or what is in it.
    pub(crate) fn fault(&mut self, otherwise: &'static str) -> Fault {
        match self.error.take() {
            Some(error) => Fault::Read(error),
            None => Fault::Damaged(otherwise),
        }
    }
}

impl io::Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        let n_bytes = buffer.len().min(left);
        if n_bytes == 0 {
            return Ok(0);
        }
        if let Err(error) = self.source.read_at(self.at, &mut buffer[..n_bytes]) {
            let kind = error.source.kind();
            self.error = Some(error);
            return Err(kind.into());
        }
        self.at += n_bytes as u64;
        Ok(n_bytes)
    }
}

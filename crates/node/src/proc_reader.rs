//! Reads small files below `/proc` again and again, without making garbage.
//!
//! One buffer and one open directory serve all reads: with a thousand processes that is most of the
//! cost of a sample.

use std::{fmt::Write as _, fs::File, os::fd::OwnedFd};

use rustix::{
    fs::{CWD, Mode, OFlags, RawDir, openat},
    io::{Errno, read},
};

/// Longest text of one file that is read, in bytes. A page holds what the kernel says of a process.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Room for the entries of a directory that the kernel gives at once, in bytes.
const ENTRIES_BYTES: usize = 32 << 10;

/// Reads files below one directory, usually `/proc`.
#[derive(Debug)]
pub(crate) struct ProcReader {
    root: Option<OwnedFd>,
    path: String,
    text: Vec<u8>,
    entries: Vec<u8>,
}

impl ProcReader {
    /// Makes a reader below `root`. Without that directory every read finds nothing.
    pub(crate) fn new(root: &str) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self {
            root: openat(CWD, root, flags, Mode::empty()).ok(),
            path: String::new(),
            text: vec![0; TEXT_BYTES_MAX],
            entries: Vec::new(),
        }
    }

    /// Reads a file of a process; none if it is gone or may not be read.
    pub(crate) fn read(&mut self, pid: i32, name: &str) -> Option<&[u8]> {
        self.path.clear();
        write!(self.path, "{pid}/{name}").ok()?;
        let root = self.root.as_ref()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(root, self.path.as_str(), flags, Mode::empty()).ok()?;
        let mut length = 0;
        loop {
            match read(&file, &mut self.text[length..]) {
                // The kernel gives such a file in pieces of whole lines; a full buffer ends it.
                Ok(0) => break,
                Ok(count) => length += count,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        Some(&self.text[..length])
    }

    /// Puts the numbers of all processes into `pids`.
    pub(crate) fn pids(&mut self, pids: &mut Vec<i32>) {
        pids.clear();
        let Some(root) = &self.root else { return };
        // A directory that is read to its end is opened anew, so that nothing is kept from before.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(dir) = openat(root, ".", flags, Mode::empty()) else {
            return;
        };
        let dir = File::from(dir);
        self.entries.reserve(ENTRIES_BYTES);
        let mut entries = RawDir::new(&dir, self.entries.spare_capacity_mut());
        while let Some(Ok(entry)) = entries.next() {
            let name = entry.file_name().to_bytes();
            if let Some(pid) = number(name).and_then(|pid| i32::try_from(pid).ok()) {
                pids.push(pid);
            }
        }
    }
}

/// Reads a decimal number that is nothing else.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_those_of_the_system_and_can_be_read() {
        let mut reader = ProcReader::new("/proc");
        let own = i32::try_from(std::process::id()).expect("small");
        let mut pids = Vec::new();
        reader.pids(&mut pids);
        assert!(pids.contains(&own));
        let stat = reader.read(own, "stat").expect("own process");
        assert!(stat.starts_with(format!("{own} (").as_bytes()));
        assert_eq!(reader.read(own, "no-such-file"), None);
        assert_eq!(reader.read(-1, "stat"), None);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut() {
        let place = tempfile::tempdir().expect("space");
        std::fs::create_dir(place.path().join("7")).expect("space");
        let path = place.path().join("7/stat");
        std::fs::write(path, vec![b'x'; TEXT_BYTES_MAX + 1]).expect("space");
        let mut reader = ProcReader::new(place.path().to_str().expect("text"));
        assert_eq!(
            reader.read(7, "stat").map(<[u8]>::len),
            Some(TEXT_BYTES_MAX)
        );
    }

    #[test]
    fn without_the_directory_nothing_is_found() {
        let mut reader = ProcReader::new("/no/such/place");
        let mut pids = vec![1];
        reader.pids(&mut pids);
        assert!(pids.is_empty());
        assert_eq!(reader.read(1, "stat"), None);
    }

    #[test]
    fn only_whole_numbers_are_processes() {
        assert_eq!(number(b"4711"), Some(4711));
        for text in ["", "self", "12a", "-1", "99999999999999999999"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }
}

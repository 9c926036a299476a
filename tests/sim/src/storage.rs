//! Storage: files by URL, with size and checksum.

use std::collections::BTreeMap;

use ailurus_model::{ByteCount, file::Checksum};
use ailurus_pilot_core::data::StoredFile;

use crate::chance::Chance;

/// All files that lie in storage.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    files: BTreeMap<String, StoredFile>,
}

impl Storage {
    /// Stores a file, over one that is there already.
    pub(crate) fn store(&mut self, url: &str, file: StoredFile) {
        self.files.insert(url.to_owned(), file);
    }

    pub(crate) fn file(&self, url: &str) -> Option<&StoredFile> {
        self.files.get(url)
    }

    /// Says whether there is a file of that size and checksum, as far as they are known.
    pub(crate) fn holds(
        &self,
        url: &str,
        size: Option<ByteCount>,
        checksum: Option<&Checksum>,
    ) -> bool {
        self.files.get(url).is_some_and(|file| {
            size.is_none_or(|size| size == file.size)
                && checksum.is_none_or(|checksum| *checksum == file.checksum)
        })
    }

    /// Changes every file behind the back of those who wrote it. Says whether there was one.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self) -> bool {
        for file in self.files.values_mut() {
            file.size = file.size.plus(ByteCount::from_bytes(1));
        }
        !self.files.is_empty()
    }
}

/// Draws what a payload wrote.
pub(crate) fn draw_file(chance: &mut Chance) -> StoredFile {
    let size = ByteCount::from_bytes(chance.number(1, 1 << 30));
    StoredFile::new(size, Checksum::Adler32(chance.count(0, u32::MAX)))
}

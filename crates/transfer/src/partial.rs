//! A file in the making beside its final place.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// A new file in the directory of its target, under a hidden name. It is removed when dropped,
/// unless [`Partial::commit`] has given it its name.
#[derive(Debug)]
pub(crate) struct Partial {
    /// Open for writing.
    pub(crate) file: File,
    path: PathBuf,
    target: PathBuf,
    is_committed: bool,
}

impl Partial {
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nr = NEXT.fetch_add(1, Ordering::Relaxed);
        // Without the target's name, which may have all of the 255 bytes that a name can have.
        let path = target.with_file_name(format!(".ailurus-{}-{nr}.part", std::process::id()));
        Ok(Self {
            file: File::create(&path)?,
            path,
            target: target.to_owned(),
            is_committed: false,
        })
    }

    /// The hidden name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes everything to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives the file its name at one stroke, in place of a file that may be there.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)?;
        self.is_committed = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_committed {
            // Its directory may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

//! A file in the making beside its final place.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Names that are tried before it is given up to find a free one.
const NAMES_MAX: u32 = 8;

/// A new file in the directory of its target, under a hidden name. It is removed when dropped,
/// unless [`Partial::commit`] has given it its name.
#[derive(Debug)]
pub(crate) struct Partial {
    /// Open for reading and writing.
    pub(crate) file: File,
    hidden: Hidden,
}

impl Partial {
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        let (file, hidden) = Hidden::make(target, |path| options.open(path))?;
        Ok(Self { file, hidden })
    }

    /// Makes a link to an open file instead of a file of its own.
    pub(crate) fn link(
        target: &Path,
        file: File,
        make: impl FnMut(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        let ((), hidden) = Hidden::make(target, make)?;
        Ok(Self { file, hidden })
    }

    /// The hidden name.
    pub(crate) fn path(&self) -> &Path {
        &self.hidden.path
    }

    /// Writes everything to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Gives the file its name at one stroke, in place of a file that may be there.
    pub(crate) fn commit(self) -> io::Result<()> {
        self.hidden.commit()
    }
}

/// A hidden name beside a target.
#[derive(Debug)]
struct Hidden {
    path: PathBuf,
    target: PathBuf,
}

impl Hidden {
    /// Makes something under a name that nothing has.
    fn make<T>(
        target: &Path,
        mut make: impl FnMut(&Path) -> io::Result<T>,
    ) -> io::Result<(T, Self)> {
        let mut tries = 0;
        loop {
            tries += 1;
            let path = hidden_beside(target);
            match make(&path) {
                Ok(made) => {
                    let target = target.to_owned();
                    return Ok((made, Self { path, target }));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && tries < NAMES_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Renames it, and then has nothing to remove but where the target was the same file already.
    fn commit(self) -> io::Result<()> {
        fs::rename(&self.path, &self.target)
    }
}

/// Returns a hidden path in the directory of a target. It is random: pilots on other nodes may
/// write to the same directory, with the same process ids.
pub(crate) fn hidden_beside(target: &Path) -> PathBuf {
    let nr = RandomState::new().hash_one(std::process::id());
    // Without the target's name, which may have all of the 255 bytes that a name can have.
    target.with_file_name(format!(".ailurus-{nr:016x}.part"))
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // It has its final name, or its directory is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

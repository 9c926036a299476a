//! A small file system in memory that a test fills and relieves: what a full disk is to a program.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

/// The file that fills it.
const FILLER: &str = "filler";
/// Bytes that are written to it at a time.
const PIECE: usize = 64 << 10;

/// A mounted file system, gone with this.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many MiB at a new folder, in which everybody may write. None where that is
    /// not allowed, which is said: a developer who is not root may do without.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    #[expect(clippy::print_stderr, reason = "what a test says that goes without")]
    pub fn mount(path: &Path, mib: u32) -> anyhow::Result<Option<Self>> {
        fs::create_dir(path)?;
        let options = format!("size={mib}m,mode=1777");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Ok(Some(Self(path.to_owned())));
        }
        eprintln!("skipped: no file system can be mounted here");
        Ok(None)
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fills what is left of it.
    ///
    /// # Errors
    ///
    /// Not even an empty file can be made.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.0.join(FILLER)).context("the disk cannot be filled")?;
        let mut piece = vec![7; PIECE];
        while !piece.is_empty() {
            match file.write(&piece) {
                Ok(n) if n > 0 => {}
                // The last bytes go in ever smaller pieces.
                _ => piece.truncate(piece.len() / 2),
            }
        }
        Ok(())
    }

    /// Gives the space back.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn relieve(&self) -> anyhow::Result<()> {
        fs::remove_file(self.0.join(FILLER)).context("the disk was not filled")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Programs that still use it keep it until they end.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).output());
    }
}

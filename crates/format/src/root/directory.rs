//! Directories of a ROOT file: each has a list of keys that repeats the heads of its records.
//!
//! Source: ROOT, `io/io/src/TDirectoryFile.cxx` (`ReadKeys`, `Streamer`).

use std::collections::BTreeSet;

use crate::{
    bytes::Cursor,
    root::{
        header::Header,
        record::{self, Key, text},
    },
    source::{Fault, Input, ReadError, judged},
    verdict::{Finding, Verdict},
};

/// Versions above this have wide places.
const WIDE_VERSION: u16 = 1000;
/// Longest description of a directory that is looked at: without its UUID.
const DIRECTORY_BYTES_MAX: usize = 42;
/// Most directories of a file.
const DIRECTORIES_MAX: usize = 1 << 16;
/// Most keys in all of them.
const KEYS_MAX: u32 = 1 << 22;
/// Longest name of an object with those of its directories, in bytes.
const NAME_BYTES_MAX: usize = 1024;
/// Classes of directories.
const DIRECTORY_CLASSES: [&[u8]; 3] = [b"TDirectory", b"TDirectoryFile", b"TFile"];
/// Most trees that are looked into.
const TREES_MAX: usize = 1 << 12;

/// An object with entries: what is looked into besides the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Name with the directories before it.
    pub(crate) name: String,
    /// Where its record begins.
    pub(crate) at: u64,
    pub(crate) class: ListedClass,
    cycle: u16,
}

/// Which classes have entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListedClass {
    /// `TTree`, or one of its plain children.
    Tree,
    /// `ROOT::RNTuple`.
    Ntuple,
}

impl ListedClass {
    fn of(class: &[u8]) -> Option<Self> {
        match class {
            b"TTree" | b"TNtuple" | b"TNtupleD" => Some(Self::Tree),
            b"ROOT::RNTuple" => Some(Self::Ntuple),
            _ => None,
        }
    }
}

/// A directory to be read: its name and where its description lies.
struct Todo {
    name: String,
    /// Where its record begins.
    seek: u64,
    /// Where its description begins.
    at: u64,
    /// Where its parent's record begins; 0 for the top.
    parent: u64,
}

/// What a directory says of itself.
struct Description {
    keys_bytes: u32,
    name_bytes: u32,
    seek: u64,
    parent: u64,
    keys_at: u64,
}

/// The state of the walk through all directories.
pub(crate) struct Directories<'a, 'v> {
    header: Header,
    /// For lists of keys.
    lists: Input<'a>,
    /// For the records that they name.
    records: Input<'a>,
    verdict: &'v mut Verdict,
    seen: BTreeSet<u64>,
    n_keys: u32,
    todo: Vec<Todo>,
    listed: Vec<Listed>,
}

impl<'a, 'v> Directories<'a, 'v> {
    /// Begins at the top.
    pub(crate) fn new(
        source: &'a dyn crate::Source,
        header: Header,
        verdict: &'v mut Verdict,
    ) -> Self {
        let top = Todo {
            name: String::new(),
            seek: header.begin,
            at: header.begin.saturating_add(u64::from(header.name_bytes)),
            parent: 0,
        };
        Self {
            header,
            lists: Input::new(source),
            records: Input::new(source),
            verdict,
            seen: BTreeSet::new(),
            n_keys: 0,
            todo: vec![top],
            listed: Vec::new(),
        }
    }

    /// Reads all of them, and returns the newest cycle of each object with entries.
    ///
    /// # Errors
    ///
    /// The source cannot be read.
    pub(crate) fn read_all(mut self) -> Result<Vec<Listed>, ReadError> {
        while let Some(todo) = self.todo.pop() {
            if !self.seen.insert(todo.seek) {
                self.blame(&todo, "it is named twice");
                continue;
            }
            if let Err(why) = judged(self.read(&todo))? {
                self.blame(&todo, why);
            }
            if self.n_keys > KEYS_MAX || self.seen.len() + self.todo.len() > DIRECTORIES_MAX {
                self.verdict.find(Finding::TooMuch { what: "keys" });
                break;
            }
        }
        let order = |one: &Listed| (one.name.clone(), std::cmp::Reverse(one.cycle));
        self.listed.sort_by_cached_key(order);
        self.listed.dedup_by(|next, kept| next.name == kept.name);
        Ok(self.listed)
    }

    fn blame(&mut self, todo: &Todo, why: &'static str) {
        let top = if todo.name.is_empty() {
            "/"
        } else {
            &todo.name
        };
        self.verdict.find(Finding::DirectoryDamaged {
            directory: top.to_owned(),
            at: todo.at,
            why,
        });
    }

    fn read(&mut self, todo: &Todo) -> Result<(), Fault> {
        let is_top = todo.parent == 0;
        let description = self.describe(todo)?;
        // ROOT gives all directories the top as their parent.
        let has_parent = [todo.parent, self.header.begin].contains(&description.parent);
        if description.seek != todo.seek || !has_parent {
            return Err(Fault::Damaged("it says that it is another one"));
        }
        if is_top && description.name_bytes != self.header.name_bytes {
            return Err(Fault::Damaged("it contradicts the file's header"));
        }
        if description.keys_at == 0 {
            let why = "a directory's list of keys was not written";
            self.verdict.find(Finding::NotClosed { why });
            return Ok(());
        }
        let key = record::read_live(&mut self.lists, description.keys_at)?;
        if key.n_bytes != description.keys_bytes {
            return Err(Fault::Damaged("its list of keys is not where it should be"));
        }
        if let Some(why) = key.fault_at(description.keys_at, self.header.end) {
            return Err(Fault::Damaged(why));
        }
        let payload = key.payload(description.keys_at);
        if payload.end - payload.at < 4 {
            return Err(Fault::Damaged("its list of keys has no length"));
        }
        let n_keys = Cursor::new(self.lists.bytes(payload.at, 4)?).u32()?;
        let mut at = payload.at + 4;
        for _ in 0..n_keys {
            self.n_keys += 1;
            if self.n_keys > KEYS_MAX {
                break;
            }
            at = self.read_key(todo, at, payload.end)?;
        }
        Ok(())
    }

    fn describe(&mut self, todo: &Todo) -> Result<Description, Fault> {
        let left = self.lists.length().saturating_sub(todo.at);
        let n_bytes = usize::try_from(left).unwrap_or(usize::MAX);
        let bytes = self
            .lists
            .bytes(todo.at, n_bytes.min(DIRECTORY_BYTES_MAX))?;
        let mut cursor = Cursor::new(bytes);
        let is_wide = cursor.u16()? > WIDE_VERSION;
        let (_created, _modified) = (cursor.u32()?, cursor.u32()?);
        Ok(Description {
            keys_bytes: cursor.u32()?,
            name_bytes: cursor.u32()?,
            seek: cursor.seek(is_wide)?,
            parent: cursor.seek(is_wide)?,
            keys_at: cursor.seek(is_wide)?,
        })
    }

    /// Compares one key of a list with its record; returns where the next one begins.
    fn read_key(&mut self, todo: &Todo, at: u64, end: u64) -> Result<u64, Fault> {
        let (key, listed_bytes) = record::read_listed(&mut self.lists, at, end)?;
        if key.parent != todo.seek {
            return Err(Fault::Damaged(
                "a key in its list belongs to another directory",
            ));
        }
        let found = record::read_live(&mut self.records, key.seek)?;
        if !is_same(&key, &found) {
            return Err(Fault::Damaged(
                "a key in its list is not that of the record",
            ));
        }
        if let Some(why) = found.fault_at(key.seek, self.header.end) {
            return Err(Fault::Damaged(why));
        }
        let name = if todo.name.is_empty() {
            text(key.name)
        } else {
            format!("{}/{}", todo.name, text(key.name))
        };
        if name.len() > NAME_BYTES_MAX {
            return Err(Fault::Damaged("names are too long"));
        }
        if DIRECTORY_CLASSES.contains(&key.class) {
            self.todo.push(Todo {
                name,
                seek: key.seek,
                at: key.seek + u64::from(key.key_bytes),
                parent: todo.seek,
            });
        } else if let Some(class) = ListedClass::of(key.class) {
            if self.listed.len() == TREES_MAX {
                self.verdict.find(Finding::TooMuch { what: "trees" });
            }
            if self.listed.len() <= TREES_MAX {
                self.listed.push(Listed {
                    name,
                    at: key.seek,
                    class,
                    cycle: key.cycle,
                });
            }
        }
        Ok(at + listed_bytes)
    }
}

/// Says whether a key in a list and a record's key are the same, but for the title.
fn is_same(listed: &Key<'_>, found: &Key<'_>) -> bool {
    let numbers = |key: &Key<'_>| {
        let lengths = (key.n_bytes, key.object_bytes, key.key_bytes);
        (lengths, key.cycle, key.seek, key.parent)
    };
    // Directories got another class in the course of time.
    let is_directory = |key: &Key<'_>| DIRECTORY_CLASSES.contains(&key.class);
    let has_same_class =
        listed.class == found.class || (is_directory(listed) && is_directory(found));
    numbers(listed) == numbers(found) && has_same_class && listed.name == found.name
}

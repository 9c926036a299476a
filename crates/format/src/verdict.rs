//! What a check found: [`Verdict`], and each thing that is wrong or odd as a [`Finding`].

use crate::format::{Depth, Format};

/// Findings that are kept; of more only the number is known.
const FINDINGS_MAX: usize = 32;
/// Trees, arrays and members that are listed.
const CONTENTS_MAX: usize = 1024;

/// What a check of one file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// As what the file was checked.
    pub format: Format,
    /// How much of it was looked at.
    pub depth: Depth,
    /// Length of the file, in bytes.
    pub length: u64,
    /// What is wrong or odd, in the order of the check; at most 32.
    pub findings: Vec<Finding>,
    /// Findings that were left off.
    pub n_more: u64,
    /// What is in the file: trees, arrays, members; at most 1024.
    pub contents: Vec<Content>,
    /// Whether anything, kept or left off, is wrong.
    is_bad: bool,
}

impl Verdict {
    pub(crate) fn new(format: Format, depth: Depth, length: u64) -> Self {
        Self {
            format,
            depth,
            length,
            findings: Vec::new(),
            n_more: 0,
            contents: Vec::new(),
            is_bad: false,
        }
    }

    /// Says whether nothing wrong was found. Odd things, like a tree without entries, are allowed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.is_bad
    }

    /// Returns the entries of the tree with most of them, or `None` without any tree.
    #[must_use]
    pub fn entries(&self) -> Option<u64> {
        self.contents.iter().filter_map(|one| one.entries).max()
    }

    /// Returns the first thing that is wrong.
    #[must_use]
    pub fn first_fault(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.is_fault())
    }

    /// Adds what was found elsewhere, such as in a piece of the same file.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.find(finding);
        }
    }

    pub(crate) fn find(&mut self, finding: Finding) {
        self.is_bad |= finding.is_fault();
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.n_more += 1;
        }
    }

    pub(crate) fn list(&mut self, content: Content) {
        if self.contents.len() < CONTENTS_MAX {
            self.contents.push(content);
        }
    }
}

/// Something that is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What it is, for example `TTree`.
    pub class: &'static str,
    /// Its name, with the directories before it.
    pub name: String,
    /// How many entries (events, rows, elements of the first dimension) it has, if it has any.
    pub entries: Option<u64>,
}

/// One thing that is wrong, or odd.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// There is not one byte.
    #[error("the file is empty")]
    Empty,
    /// The first bytes are of something else.
    #[error("not a file of format `{format}`: {why}", format = format.name())]
    OtherFormat {
        /// What the file should be.
        format: Format,
        /// What is missing.
        why: &'static str,
    },
    /// The file says itself that it is longer.
    #[error("truncated at byte {length} of {expected}")]
    Truncated {
        /// Length of the file, in bytes.
        length: u64,
        /// What it should be, in bytes.
        expected: u64,
    },
    /// The file ends in the middle of something; how long it should be is not known.
    #[error("truncated at byte {length}: {why}")]
    EndsEarly {
        /// Length of the file, in bytes.
        length: u64,
        /// What is missing.
        why: &'static str,
    },
    /// Its writer did not come to the end.
    #[error("not closed properly: {why}")]
    NotClosed {
        /// What is missing.
        why: &'static str,
    },
    /// There is more than the file says. This is odd, not wrong: ROOT files may shrink so.
    #[error("unknown bytes from byte {at} on, behind the end of what the file holds")]
    BytesBehind {
        /// Where they begin, in bytes.
        at: u64,
    },
    /// The head of the file contradicts itself.
    #[error("header damaged: {why}")]
    HeaderDamaged {
        /// What is wrong.
        why: &'static str,
    },
    /// The head of a record of a ROOT file is not one.
    #[error("key damaged at byte {at}: {why}")]
    KeyDamaged {
        /// Where the record begins.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The list of free segments of a ROOT file is wrong.
    #[error("list of free segments damaged: {why}")]
    FreeListDamaged {
        /// What is wrong.
        why: &'static str,
    },
    /// A directory of a ROOT file, or its list of keys, is wrong.
    #[error("directory `{directory}` damaged at byte {at}: {why}")]
    DirectoryDamaged {
        /// Its name with those above it; `/` is the top.
        directory: String,
        /// Where.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A tree contradicts itself, or the baskets in the file.
    #[error("tree `{tree}` damaged in branch `{branch}`: {why}")]
    BranchDamaged {
        /// The tree's name with its directories.
        tree: String,
        /// The branch's name.
        branch: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An object cannot be read.
    #[error("{class} `{name}` damaged at byte {at}: {why}")]
    ObjectDamaged {
        /// Its class.
        class: String,
        /// Its name.
        name: String,
        /// Where it lies.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The content of a basket is not what was written.
    #[error("basket damaged at byte {at}: {why} (tree `{tree}`, branch `{branch}`)")]
    BasketDamaged {
        /// The tree's name.
        tree: String,
        /// The branch's name.
        branch: String,
        /// Where its record begins.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A part of a file of another format is wrong.
    #[error("{part} damaged at byte {at}: {why}")]
    PartDamaged {
        /// Which part.
        part: String,
        /// Where it begins.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// Text is not what it should be.
    #[error("text damaged at byte {at}: {why}")]
    TextDamaged {
        /// Where.
        at: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// There is more of something than this check is made for, so nothing can be said.
    #[error("too much to check: {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
    },
    /// A ROOT file has no tree. This is odd, not wrong.
    #[error("no tree")]
    NoTree,
    /// A tree has no entries. This is odd, not wrong.
    #[error("0 events in `{tree}`")]
    NoEntries {
        /// The tree's name with its directories.
        tree: String,
    },
    /// A branch has not as many entries as its tree. This is odd, not wrong.
    #[error("branch `{branch}` of `{tree}` has {has} entries, the tree {tree_has}")]
    EntriesDiffer {
        /// The tree's name with its directories.
        tree: String,
        /// The branch's name.
        branch: String,
        /// Entries of the branch.
        has: u64,
        /// Entries of the tree.
        tree_has: u64,
    },
    /// Something is of a kind that the check does not know. This is odd, not wrong.
    #[error("not looked into: {what}")]
    NotLookedInto {
        /// What it is.
        what: String,
    },
}

impl Finding {
    /// Says whether the file is not to be used because of this.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.word().1
    }

    /// Returns one word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.word().0
    }

    /// Returns the word for programs and whether the file is bad.
    const fn word(&self) -> (&'static str, bool) {
        match self {
            Self::Empty => ("empty", true),
            Self::OtherFormat { .. } => ("other-format", true),
            Self::Truncated { .. } | Self::EndsEarly { .. } => ("truncated", true),
            Self::NotClosed { .. } => ("not-closed", true),
            Self::BytesBehind { .. } => ("bytes-behind", false),
            Self::HeaderDamaged { .. } => ("header-damaged", true),
            Self::KeyDamaged { .. } => ("key-damaged", true),
            Self::FreeListDamaged { .. } => ("free-list-damaged", true),
            Self::DirectoryDamaged { .. } => ("directory-damaged", true),
            Self::BranchDamaged { .. } => ("branch-damaged", true),
            Self::ObjectDamaged { .. } => ("object-damaged", true),
            Self::BasketDamaged { .. } => ("basket-damaged", true),
            Self::PartDamaged { .. } => ("part-damaged", true),
            Self::TextDamaged { .. } => ("text-damaged", true),
            Self::TooMuch { .. } => ("too-much", true),
            Self::NoTree => ("no-tree", false),
            Self::NoEntries { .. } => ("no-entries", false),
            Self::EntriesDiffer { .. } => ("entries-differ", false),
            Self::NotLookedInto { .. } => ("not-looked-into", false),
        }
    }
}

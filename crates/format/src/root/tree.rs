//! Trees: how many entries they have, and whether their branches agree with the file's baskets.
//!
//! Source: ROOT, `tree/tree/inc/TTree.h`, versions 16 to 20 of the class.

use crate::{
    root::{
        branch::Branch,
        object::{Element, Stream},
        record::text,
        walk::Walk,
    },
    source::Fault,
    verdict::{Content, Finding, Verdict},
};

/// Versions of the class that are understood: ROOT 5 and 6.
const VERSIONS: std::ops::RangeInclusive<u16> = 16..=20;
/// From these versions on there is a default length of offsets, flushed bytes, cluster ranges,
/// and I/O features.
const WITH_OFFSETS: u16 = 17;
const WITH_FLUSHED: u16 = 18;
const WITH_CLUSTERS: u16 = 19;
const WITH_FEATURES: u16 = 20;
/// Most branches one below the other.
const DEPTH_MAX: u32 = 64;
/// The class of branches without a class of their own before it.
const BRANCH: &[u8] = b"TBranch";
/// Classes of branches that begin with a plain one.
const BRANCH_CHILDREN: [&[u8]; 4] = [
    b"TBranchElement",
    b"TBranchObject",
    b"TBranchRef",
    b"TBranchSTL",
];

/// A tree that is looked into.
pub(crate) struct Tree<'a, 'v> {
    name: &'a str,
    stream: Stream<'a>,
    walk: &'a Walk,
    verdict: &'v mut Verdict,
    n_entries: u64,
    n_skipped: u64,
}

impl<'a, 'v> Tree<'a, 'v> {
    /// Begins with the object's bytes, unpacked.
    pub(crate) fn new(
        name: &'a str,
        stream: Stream<'a>,
        walk: &'a Walk,
        verdict: &'v mut Verdict,
    ) -> Self {
        Self {
            name,
            stream,
            walk,
            verdict,
            n_entries: 0,
            n_skipped: 0,
        }
    }

    /// Reads the tree; `is_child` says that its class adds something behind.
    pub(crate) fn read(mut self, is_child: bool) -> Result<(), Fault> {
        if is_child {
            let _child = self.stream.part()?;
        }
        let (_, version) = self.stream.part()?;
        if !VERSIONS.contains(&version) {
            self.verdict.list(self.content(None));
            self.verdict.find(Finding::NotLookedInto {
                what: format!("tree `{}`: version {version} is not known", self.name),
            });
            return Ok(());
        }
        self.head(version)?;
        self.verdict.list(self.content(Some(self.n_entries)));
        if self.n_entries == 0 {
            self.verdict.find(Finding::NoEntries {
                tree: self.name.to_owned(),
            });
        }
        self.branches(0)?;
        if self.n_skipped > 0 {
            self.verdict.find(Finding::NotLookedInto {
                what: format!("{} branches of tree `{}`", self.n_skipped, self.name),
            });
        }
        Ok(())
    }

    fn content(&self, entries: Option<u64>) -> Content {
        Content {
            class: "TTree",
            name: self.name.to_owned(),
            entries,
        }
    }

    /// Reads up to the branches.
    fn head(&mut self, version: u16) -> Result<(), Fault> {
        // Name, line, fill and marker attributes.
        for _ in 0..4 {
            self.stream.skip_part()?;
        }
        let cursor = &mut self.stream.cursor;
        let n_entries = cursor.i64()?;
        self.n_entries = u64::try_from(n_entries)
            .map_err(|_| Fault::Damaged("its number of entries is negative"))?;
        // Bytes in all, packed, saved, flushed, and the weight.
        cursor.skip(if version >= WITH_FLUSHED { 40 } else { 32 })?;
        // Timer, scan field, update, and the default length of offsets.
        cursor.skip(if version >= WITH_OFFSETS { 16 } else { 12 })?;
        let n_clusters = if version >= WITH_CLUSTERS {
            cursor.u32()? as usize
        } else {
            0
        };
        // Limits of entries, loop, memory, saving, flushing, estimate.
        cursor.skip(if version >= WITH_FLUSHED { 48 } else { 40 })?;
        if version >= WITH_CLUSTERS {
            for _ in 0..2 {
                let has_array = cursor.u8()? != 0;
                cursor.skip(if has_array { n_clusters * 8 } else { 0 })?;
            }
        }
        if version >= WITH_FEATURES {
            self.stream.skip_part()?;
        }
        Ok(())
    }

    /// Reads a list of branches, and says how many there are.
    fn branches(&mut self, depth: u32) -> Result<u32, Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::Damaged("its branches are too deep"));
        }
        let (end, n_branches) = self.stream.list()?;
        for _ in 0..n_branches {
            let Element::Object { class, end } = self.stream.element()? else {
                self.n_skipped += 1;
                continue;
            };
            self.branch(class, end, depth)?;
        }
        self.stream.cursor.go_to(end)?;
        Ok(n_branches)
    }

    fn branch(&mut self, class: &[u8], end: usize, depth: u32) -> Result<(), Fault> {
        if BRANCH_CHILDREN.contains(&class) {
            let _child = self.stream.part()?;
        } else if class != BRANCH {
            self.n_skipped += 1;
            return self.stream.cursor.go_to(end);
        }
        let (_, version) = self.stream.part()?;
        let Some(branch) = Branch::begin(&mut self.stream, version)? else {
            self.n_skipped += 1;
            return self.stream.cursor.go_to(end);
        };
        let n_children = self.branches(depth + 1)?;
        match branch.finish(&mut self.stream, n_children > 0, self.walk) {
            Ok(()) => {}
            Err(Fault::Damaged(why)) => self.verdict.find(Finding::BranchDamaged {
                tree: self.name.to_owned(),
                branch: text(branch.name),
                why,
            }),
            Err(Fault::Read(error)) => return Err(Fault::Read(error)),
        }
        if depth == 0 && branch.end_entry() != self.n_entries {
            self.verdict.find(Finding::EntriesDiffer {
                tree: self.name.to_owned(),
                branch: text(branch.name),
                has: branch.end_entry(),
                tree_has: self.n_entries,
            });
        }
        self.stream.cursor.go_to(end)
    }
}

//! ROOT files: is it whole, was it closed, and is everything in it what was written?
//!
//! [`check`] looks at the structure: header, free segments, every record's head, every directory,
//! every tree. What is left for the depth with baskets are [`Piece`]s, which know nothing of each
//! other, so that the caller can give them to as many threads as it likes.

mod block;
mod branch;
mod directory;
mod free;
mod header;
mod ntuple;
mod object;
mod record;
mod tree;
mod walk;

use crate::{
    format::{Depth, Format},
    source::{Fault, Input, ReadError, Source, judged},
    verdict::{Content, Finding, Verdict},
};
use block::Payload;
use directory::{Directories, Listed, ListedClass};
use header::Header;
use object::Stream;
use record::{Key, Record, text};
use tree::Tree;
use walk::Walk;

/// Longest tree that is looked into, unpacked, in bytes: several times the largest in the field.
const TREE_BYTES_MAX: u32 = 64 << 20;
/// Most bytes of all trees of a file.
const TREES_BYTES_MAX: u64 = 1 << 30;
/// Bytes that may come out of the compressed blocks of a piece: so many in any case, and so many
/// for each byte of it. Zeros are packed a thousand times smaller; only traps go beyond.
const UNPACKED_MAX: u64 = 1 << 30;
const UNPACKED_RATIO_MAX: u64 = 2048;
/// A gap where there was none when the structure was looked at.
const CHANGED: &str = "it changed while it was checked";
/// The first bytes of a ROOT file.
pub(crate) const MAGIC: &[u8] = header::MAGIC;
/// What `RNTuple`s put their pages into; these have checksums of their own.
const PAGES: &[u8] = b"RBlob";

/// A part of a file whose checksums can be checked by itself.
#[derive(Debug, Clone)]
pub struct Piece(Part);

#[derive(Debug, Clone)]
enum Part {
    /// Records from a place to before another.
    Records { begin: u64, end: u64 },
    /// The pages that a list of an `RNTuple` names.
    Pages { ntuple: String, list: Payload },
}

impl Piece {
    fn records(begin: u64, end: u64) -> Self {
        Self(Part::Records { begin, end })
    }
}

/// Checks the structure, and adds what is left to be checked to `pieces`.
pub(crate) fn check(
    source: &dyn Source,
    depth: Depth,
    pieces: &mut Vec<Piece>,
) -> Result<Verdict, ReadError> {
    let mut input = Input::new(source);
    let mut verdict = Verdict::new(Format::Root, depth, input.length());
    let Some(header) = read_header(&mut input, &mut verdict)? else {
        return Ok(verdict);
    };
    if !check_end(&mut input, &header, &mut verdict)? {
        return Ok(verdict);
    }
    let free = if header.free_at < header.begin || header.free_bytes == 0 {
        let why = "it has no list of free segments";
        verdict.find(Finding::NotClosed { why });
        free::FreeSegments::default()
    } else {
        judged(free::read(&mut input, &header))?.unwrap_or_else(|why| {
            verdict.find(Finding::FreeListDamaged { why });
            free::FreeSegments::default()
        })
    };
    if header.info_at != 0
        && let Err(why) = judged(check_info(&mut input, &header))?
    {
        let (class, name) = ("TList".to_owned(), "StreamerInfo".to_owned());
        let at = header.info_at;
        verdict.find(Finding::ObjectDamaged {
            class,
            name,
            at,
            why,
        });
    }
    let mut walk = walk::walk(&mut input, &header, &free, &mut verdict)?;
    let listed = Directories::new(source, header, &mut verdict).read_all()?;
    let mut inside = Inside {
        input,
        walk: &walk,
        verdict: &mut verdict,
        page_lists: Vec::new(),
        bytes_left: TREES_BYTES_MAX,
    };
    for one in &listed {
        inside.look(one)?;
    }
    let page_lists = inside.page_lists;
    if listed.is_empty() && verdict.is_good() {
        verdict.find(Finding::NoTree);
    }
    match depth {
        Depth::Structure => {}
        Depth::Baskets => {
            pieces.append(&mut walk.pieces);
            pieces.extend(page_lists);
        }
    }
    Ok(verdict)
}

fn read_header(input: &mut Input<'_>, verdict: &mut Verdict) -> Result<Option<Header>, ReadError> {
    let length = input.length();
    let n_bytes = MAGIC
        .len()
        .min(usize::try_from(length).unwrap_or(usize::MAX));
    let begins = |bytes: &[u8]| MAGIC.starts_with(bytes);
    let is_root = judged(input.bytes(0, n_bytes).map(begins))?.unwrap_or_default();
    if !is_root {
        verdict.find(Finding::OtherFormat {
            format: Format::Root,
            why: "it does not begin with `root`",
        });
    } else {
        match judged(header::read(input))? {
            Ok(header) => return Ok(Some(header)),
            Err(why) if length < HEADER_ROOM => {
                verdict.find(Finding::EndsEarly { length, why });
            }
            Err(why) => verdict.find(Finding::HeaderDamaged { why }),
        }
    }
    Ok(None)
}

/// Shorter files have no room for a header and a record.
const HEADER_ROOM: u64 = 100;

/// Compares the end that the header names with the file's; says whether to go on.
fn check_end(
    input: &mut Input<'_>,
    header: &Header,
    verdict: &mut Verdict,
) -> Result<bool, ReadError> {
    let length = input.length();
    if header.end == 0 {
        let why = "its end was never written";
        verdict.find(Finding::NotClosed { why });
        return Ok(false);
    }
    if header.end > length {
        let expected = header.end;
        verdict.find(Finding::Truncated { length, expected });
        return Ok(false);
    }
    if header.end < length {
        // A file that shrank leaves a gap or rubbish; what was added and not closed, a record.
        let at = header.end;
        match judged(record::read(input, at))? {
            Ok(Record::Gap(_)) => {}
            Ok(Record::Key(key)) if key.seek == at => {
                let why = "records follow behind its end";
                verdict.find(Finding::NotClosed { why });
            }
            Ok(Record::Key(_)) | Err(_) => verdict.find(Finding::BytesBehind { at }),
        }
    }
    Ok(true)
}

/// Looks whether the record with the descriptions of classes is there.
fn check_info(input: &mut Input<'_>, header: &Header) -> Result<(), Fault> {
    let key = record::read_live(input, header.info_at)?;
    if key.n_bytes != header.info_bytes {
        return Err(Fault::Damaged("the header names another record"));
    }
    key.fault_at(header.info_at, header.end)
        .map_or(Ok(()), |why| Err(Fault::Damaged(why)))
}

/// The look into objects with entries.
struct Inside<'a, 'v> {
    input: Input<'a>,
    walk: &'v Walk,
    verdict: &'v mut Verdict,
    page_lists: Vec<Piece>,
    bytes_left: u64,
}

impl Inside<'_, '_> {
    fn look(&mut self, listed: &Listed) -> Result<(), ReadError> {
        let (class, looked) = match listed.class {
            ListedClass::Tree => ("TTree", self.look_at_tree(listed)),
            ListedClass::Ntuple => ("RNTuple", self.look_at_ntuple(listed)),
        };
        if let Err(why) = judged(looked)? {
            self.verdict.find(Finding::ObjectDamaged {
                class: class.to_owned(),
                name: listed.name.clone(),
                at: listed.at,
                why,
            });
        }
        Ok(())
    }

    fn look_at_tree(&mut self, listed: &Listed) -> Result<(), Fault> {
        let source = self.input.source();
        let key = record::read_live(&mut self.input, listed.at)?;
        let n_bytes = u64::from(key.object_bytes);
        if key.object_bytes > TREE_BYTES_MAX || n_bytes > self.bytes_left {
            let what = "bytes of trees' descriptions";
            self.verdict.find(Finding::TooMuch { what });
            return Ok(());
        }
        self.bytes_left -= n_bytes;
        let (key_bytes, is_child) = (key.key_bytes, key.class != b"TTree");
        let bytes = key.payload(listed.at).read(source)?;
        let stream = Stream::new(&bytes, key_bytes);
        Tree::new(&listed.name, stream, self.walk, self.verdict).read(is_child)
    }

    fn look_at_ntuple(&mut self, listed: &Listed) -> Result<(), Fault> {
        /// Longest anchor: it has some ten numbers.
        const ANCHOR_BYTES_MAX: u32 = 1024;
        let source = self.input.source();
        let key = record::read_live(&mut self.input, listed.at)?;
        if key.object_bytes > ANCHOR_BYTES_MAX {
            return Err(Fault::Damaged("its anchor is too long"));
        }
        let anchor = key.payload(listed.at).read(source)?;
        let ntuple = ntuple::read(source, &anchor, &mut self.bytes_left)?;
        self.verdict.list(Content {
            class: "RNTuple",
            name: listed.name.clone(),
            entries: Some(ntuple.n_entries),
        });
        if ntuple.n_entries == 0 {
            let tree = listed.name.clone();
            self.verdict.find(Finding::NoEntries { tree });
        }
        for list in ntuple.page_lists {
            let ntuple = listed.name.clone();
            self.page_lists.push(Piece(Part::Pages { ntuple, list }));
        }
        Ok(())
    }
}

/// Checks all checksums in one piece of a file.
///
/// # Errors
///
/// The source cannot be read.
pub fn check_piece(source: &dyn Source, piece: &Piece) -> Result<Vec<Finding>, ReadError> {
    let mut findings = Vec::new();
    match &piece.0 {
        Part::Records { begin, end } => check_records(source, *begin, *end, &mut findings)?,
        Part::Pages { ntuple, list } => {
            if let Err(why) = judged(ntuple::verify_pages(source, *list))? {
                findings.push(Finding::ObjectDamaged {
                    class: "RNTuple".to_owned(),
                    name: ntuple.clone(),
                    at: list.at,
                    why,
                });
            }
        }
    }
    Ok(findings)
}

fn check_records(
    source: &dyn Source,
    begin: u64,
    end: u64,
    findings: &mut Vec<Finding>,
) -> Result<(), ReadError> {
    let mut input = Input::new(source);
    let mut at = begin;
    let mut unpacked_left = UNPACKED_MAX + UNPACKED_RATIO_MAX * (end - begin);
    while at < end {
        let record = judged(record::read(&mut input, at))?;
        match record {
            Ok(Record::Key(key)) => {
                let n_bytes = u64::from(key.n_bytes);
                let payload = key.payload(at);
                if key.class != PAGES && payload.is_packed() {
                    let Some(left) = unpacked_left.checked_sub(payload.unpacked) else {
                        let what = "bytes to unpack";
                        findings.push(Finding::TooMuch { what });
                        break;
                    };
                    unpacked_left = left;
                    if let Err(why) = judged(payload.verify(source))? {
                        findings.push(damage(&key, at, why));
                    }
                }
                at += n_bytes;
            }
            Ok(Record::Gap(_)) => {
                findings.push(Finding::KeyDamaged { at, why: CHANGED });
                break;
            }
            Err(why) => {
                // The file was another one when its structure was looked at.
                findings.push(Finding::KeyDamaged { at, why });
                break;
            }
        }
    }
    Ok(())
}

fn damage(key: &Key<'_>, at: u64, why: &'static str) -> Finding {
    if key.class == record::BASKET {
        Finding::BasketDamaged {
            tree: text(key.title),
            branch: text(key.name),
            at,
            why,
        }
    } else {
        Finding::ObjectDamaged {
            class: text(key.class),
            name: text(key.name),
            at,
            why,
        }
    }
}

//! The formats that can be checked, by name.
//!
//! [`Format`] is what profiles and people name; the table [`FORMATS`] is the one place that says
//! how each is called, which file names and first bytes are its own, and what a check of it sees.
//! Nothing is checked here.

/// A format that is checked without the help of an external command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// A ROOT file: trees, `RNTuple`s, histograms.
    Root,
    /// One `NumPy` array.
    Npy,
    /// A zip archive of `NumPy` arrays.
    Npz,
    /// An HDF5 file.
    Hdf5,
    /// UTF-8 text without NUL bytes.
    Text,
    /// UTF-8 text whose last line is complete.
    Lines,
    /// Text of 7-bit characters only.
    Ascii,
    /// One JSON value.
    Json,
    /// One or more gzip members.
    Gzip,
    /// One or more Zstandard frames.
    Zstd,
    /// An archive of `tar`.
    Tar,
    /// A zip archive.
    Zip,
}

/// How much of a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Depth {
    /// Headers, directories and lengths: milliseconds, and enough to find every cut.
    #[default]
    Structure,
    /// Every byte that a checksum covers: as long as reading the file, or decompressing it.
    Baskets,
}

impl Depth {
    /// Both, the quick one first.
    pub const ALL: [Self; 2] = [Self::Structure, Self::Baskets];

    /// Returns the word for it in profiles and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Baskets => "baskets",
        }
    }

    /// Finds a depth by its word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|depth| depth.name() == name)
    }
}

/// What is known about a format.
struct Entry {
    format: Format,
    /// The word for it in profiles and on the command line.
    name: &'static str,
    /// Ends of file names, in lower case, with the dot.
    endings: &'static [&'static str],
    /// What a check sees, for people.
    sees: &'static str,
}

const FORMATS: [Entry; 12] = [
    Entry {
        format: Format::Root,
        name: "root",
        endings: &[".root"],
        sees: "header, length, free segments, keys, directories, trees; \
               with `baskets` every compressed block and its checksum",
    },
    Entry {
        format: Format::Npy,
        name: "npy",
        endings: &[".npy"],
        sees: "header, and shape times size of an element against the length",
    },
    Entry {
        format: Format::Npz,
        name: "npz",
        endings: &[".npz"],
        sees: "directory and sizes of the archive, header of each array; \
               with `baskets` the CRC-32 of each",
    },
    Entry {
        format: Format::Hdf5,
        name: "hdf5",
        endings: &[".h5", ".hdf5", ".hdf"],
        sees: "superblock, its checksum, end of file against the length, root group",
    },
    Entry {
        format: Format::Text,
        name: "text",
        endings: &[".txt", ".log", ".csv"],
        sees: "UTF-8, no NUL bytes",
    },
    Entry {
        format: Format::Lines,
        name: "lines",
        endings: &[],
        sees: "UTF-8, no NUL bytes, a newline at the end",
    },
    Entry {
        format: Format::Ascii,
        name: "ascii",
        endings: &[],
        sees: "7-bit characters, no NUL bytes",
    },
    Entry {
        format: Format::Json,
        name: "json",
        endings: &[".json"],
        sees: "one whole JSON value",
    },
    Entry {
        format: Format::Gzip,
        name: "gzip",
        endings: &[".gz", ".tgz"],
        sees: "length and CRC-32 of every member, which are unpacked for it",
    },
    Entry {
        format: Format::Zstd,
        name: "zstd",
        endings: &[".zst", ".tzst"],
        sees: "frames and blocks up to the end of the file; with `baskets` their checksums",
    },
    Entry {
        format: Format::Tar,
        name: "tar",
        endings: &[".tar"],
        sees: "header checksum and length of each member, the end mark",
    },
    Entry {
        format: Format::Zip,
        name: "zip",
        endings: &[".zip"],
        sees: "directory and sizes; with `baskets` the CRC-32 of each member",
    },
];

impl Format {
    /// Finds a format by its word in profiles and on the command line, for example `root`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let entry = FORMATS.iter().find(|entry| entry.name == name)?;
        Some(entry.format)
    }

    /// Returns the words for all formats, in the order of the documentation.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMATS.iter().map(|entry| entry.name)
    }

    /// Returns the word for it in profiles and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Says what a check of it sees, for people.
    #[must_use]
    pub fn sees(self) -> &'static str {
        self.entry().sees
    }

    /// Guesses the format of a file from its name.
    ///
    /// A number behind the name's end, as PanDA gives to outputs of later attempts
    /// (`hits.root.2`), is looked past.
    #[must_use]
    pub fn of_name(file_name: &str) -> Option<Self> {
        let lower = file_name.to_ascii_lowercase();
        let plain = match lower.rsplit_once('.') {
            Some((front, number))
                if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                front
            }
            Some(_) | None => lower.as_str(),
        };
        let is_named = |entry: &&Entry| entry.endings.iter().any(|end| plain.ends_with(end));
        Some(FORMATS.iter().find(is_named)?.format)
    }

    fn entry(self) -> &'static Entry {
        let found = FORMATS.iter().find(|entry| entry.format == self);
        found.expect("the table has every format, a test says so")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_formats() {
        for name in Format::names() {
            let format = Format::from_name(name).unwrap();
            assert_eq!(format.name(), name);
            assert!(!format.sees().is_empty());
        }
        assert_eq!(Format::from_name("ROOT"), None);
        for depth in Depth::ALL {
            assert_eq!(Depth::from_name(depth.name()), Some(depth));
        }
    }

    #[test]
    fn a_file_name_tells_the_format() {
        let cases = [
            ("hits.root", Some(Format::Root)),
            ("hits.ROOT.2", Some(Format::Root)),
            ("log.tgz", Some(Format::Gzip)),
            ("geometry.h5", Some(Format::Hdf5)),
            ("root", None),
            ("file.5", None),
            ("", None),
        ];
        for (name, format) in cases {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }
}

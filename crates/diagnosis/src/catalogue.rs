//! The compiled catalogue: its entries, and the indexes by name, by number and by text.

use std::collections::BTreeMap;

use crate::{
    entry::{Direction, Entry, ErrorSource, Scope},
    scan::{Finding, Scanner},
    schema::{self, CatalogueError, EntryWithRules, Patterns, Rule},
};

/// The files that are compiled in; an earlier entry is preferred to a later one.
const FILES: &[(&str, &str)] = &[
    (
        "pilot-codes.toml",
        include_str!("../../../error-catalogue/pilot-codes.toml"),
    ),
    (
        "server-codes.toml",
        include_str!("../../../error-catalogue/server-codes.toml"),
    ),
    (
        "exit-codes.toml",
        include_str!("../../../error-catalogue/exit-codes.toml"),
    ),
    (
        "payload.toml",
        include_str!("../../../error-catalogue/payload.toml"),
    ),
    (
        "transfer.toml",
        include_str!("../../../error-catalogue/transfer.toml"),
    ),
    (
        "worker.toml",
        include_str!("../../../error-catalogue/worker.toml"),
    ),
];

/// Everything that is known about errors, ready to be searched.
///
/// Making one and the first search each take some milliseconds: keep it.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
    by_id: BTreeMap<String, usize>,
    by_number: BTreeMap<(ErrorSource, i64), usize>,
    by_exit_code: BTreeMap<i64, usize>,
    /// The entry for all other codes of a source; every source has one.
    fallbacks: BTreeMap<ErrorSource, usize>,
    payload: Scanner,
    transfer: Scanner,
    worker: Scanner,
}

impl Catalogue {
    /// Returns the catalogue that is compiled in.
    ///
    /// # Panics
    ///
    /// Never, unless the compiled-in files are broken, which a test rules out.
    #[must_use]
    pub fn built_in() -> Self {
        let read = Builder::default().read(FILES, Patterns::Tested);
        read.and_then(Builder::build)
            .expect("the built-in catalogue is tested")
    }

    /// Returns the built-in catalogue with more files before it, for example an experiment's own
    /// patterns. Their entries are preferred to the built-in ones.
    ///
    /// # Errors
    ///
    /// As [`Self::from_toml`].
    pub fn built_in_with(files: &[(&str, &str)]) -> Result<Self, CatalogueError> {
        let read = Builder::default().read(files, Patterns::Untested)?;
        read.read(FILES, Patterns::Tested)?.build()
    }

    /// Reads a catalogue from texts: pairs of file name and content, the most important first.
    ///
    /// # Errors
    ///
    /// [`CatalogueError`] if a file is not TOML or has an unknown key, a bad value, a code that
    /// the registry does not know, a broken pattern, a literal that is too short, an id or number
    /// that another entry has, or if a source is without an entry for its other codes.
    pub fn from_toml(files: &[(&str, &str)]) -> Result<Self, CatalogueError> {
        Builder::default().read(files, Patterns::Untested)?.build()
    }

    /// Finds known errors in a payload's output, which may be raw bytes in any encoding.
    ///
    /// Returns each entry at most once, with the first line that has it; best first, which is the
    /// catalogue's order, and at most `limit`. One pass over the buffer, whatever is in it; lines
    /// end with a line feed or a carriage return.
    #[must_use]
    pub fn scan(&self, output: &[u8], limit: usize) -> Vec<Finding<'_>> {
        self.payload.scan(&self.entries, output, limit)
    }

    /// Finds known errors in the output of a transfer tool or the answer of a storage, as
    /// [`Self::scan`] does. The code of a finding is that of [`Entry::code_in`].
    #[must_use]
    pub fn scan_transfer(&self, output: &[u8], limit: usize) -> Vec<Finding<'_>> {
        self.transfer.scan(&self.entries, output, limit)
    }

    /// Finds known errors in the message of a batch system or computing element, as
    /// [`Self::scan`] does.
    #[must_use]
    pub fn scan_worker(&self, message: &[u8], limit: usize) -> Vec<Finding<'_>> {
        self.worker.scan(&self.entries, message, limit)
    }

    /// Classifies a failed transfer by what its tool said: the entry and the pilot's code.
    ///
    /// Returns the best entry of [`Self::scan_transfer`] that has a code for the direction.
    #[must_use]
    pub fn classify_transfer(
        &self,
        direction: Direction,
        output: &[u8],
    ) -> Option<(&Entry, ailurus_model::ErrorCode)> {
        self.scan_transfer(output, self.entries.len())
            .into_iter()
            .find_map(|finding| Some((finding.entry, finding.entry.code_in(direction)?)))
    }

    /// Returns the entry of this name.
    #[must_use]
    pub fn entry(&self, id: &str) -> Option<&Entry> {
        self.by_id.get(id).map(|index| &self.entries[*index])
    }

    /// Returns all entries in the catalogue's order, best first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the entry that names this number of this source.
    pub(crate) fn entry_of_number(&self, source: ErrorSource, number: i64) -> Option<&Entry> {
        self.by_number
            .get(&(source, number))
            .map(|index| &self.entries[*index])
    }

    /// Returns the entry that names this exit code.
    pub(crate) fn entry_of_exit_code(&self, code: i64) -> Option<&Entry> {
        self.by_exit_code
            .get(&code)
            .map(|index| &self.entries[*index])
    }

    /// Returns the entry for all numbers of this source that no entry names.
    pub(crate) fn fallback(&self, source: ErrorSource) -> &Entry {
        &self.entries[self.fallbacks[&source]]
    }

    /// Returns the best entry that a text of this kind gives.
    pub(crate) fn entry_of_text(&self, scope: Scope, text: &str) -> Option<&Entry> {
        let scanner = match scope {
            Scope::Payload => &self.payload,
            Scope::Transfer => &self.transfer,
            Scope::Worker => &self.worker,
        };
        let best = scanner.scan(&self.entries, text.as_bytes(), 1);
        best.into_iter().next().map(|finding| finding.entry)
    }
}

/// Gathers entries and refuses what contradicts an earlier one.
#[derive(Default)]
struct Builder {
    entries: Vec<Entry>,
    rules: BTreeMap<Scope, Vec<(usize, Rule)>>,
    by_id: BTreeMap<String, usize>,
    by_number: BTreeMap<(ErrorSource, i64), usize>,
    by_exit_code: BTreeMap<i64, usize>,
    fallbacks: BTreeMap<ErrorSource, usize>,
}

impl Builder {
    fn read(mut self, files: &[(&str, &str)], patterns: Patterns) -> Result<Self, CatalogueError> {
        for (file, text) in files {
            for entry in schema::read_file(file, text, patterns)? {
                self.add(file, entry)?;
            }
        }
        Ok(self)
    }

    fn add(&mut self, file: &str, added: EntryWithRules) -> Result<(), CatalogueError> {
        let EntryWithRules { entry, rules } = added;
        let index = self.entries.len();
        let refuse = |key, value: &str, other: usize| {
            let other = self
                .entries
                .get(other)
                .map_or(entry.id.as_str(), |e| e.id.as_str());
            let allowed = format!("what no other entry has (`{other}` has it)");
            Err(schema::refuse(file, &entry.id, key, value, &allowed))
        };
        if let Some(other) = self.by_id.insert(entry.id.clone(), index) {
            return refuse("id", &entry.id, other);
        }
        for code in &entry.exit_codes {
            if let Some(other) = self.by_exit_code.insert(*code, index) {
                return refuse("exit_codes", &code.to_string(), other);
            }
        }
        if let Some(explains) = &entry.explains {
            let source = explains.source;
            if explains.codes.is_empty()
                && let Some(other) = self.fallbacks.insert(source, index)
            {
                return refuse("explains", &format!("{source} []"), other);
            }
            for code in &explains.codes {
                if let Some(other) = self.by_number.insert((source, *code), index) {
                    return refuse("explains", &format!("{source} {code}"), other);
                }
            }
        }
        if let Some(scope) = entry.scope {
            let rules = rules.into_iter().map(|rule| (index, rule));
            self.rules.entry(scope).or_default().extend(rules);
        }
        self.entries.push(entry);
        Ok(())
    }

    fn build(mut self) -> Result<Catalogue, CatalogueError> {
        let all = ErrorSource::ALL.iter();
        if let Some(of) = all
            .copied()
            .find(|source| !self.fallbacks.contains_key(source))
        {
            return Err(CatalogueError::NoFallback { of });
        }
        let mut scanner = |scope| Scanner::new(self.rules.remove(&scope).unwrap_or_default());
        Ok(Catalogue {
            payload: scanner(Scope::Payload),
            transfer: scanner(Scope::Transfer),
            worker: scanner(Scope::Worker),
            entries: self.entries,
            by_id: self.by_id,
            by_number: self.by_number,
            by_exit_code: self.by_exit_code,
            fallbacks: self.fallbacks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_files_are_sound_and_all_their_patterns_compile() {
        let checked = Catalogue::from_toml(FILES).unwrap();
        assert_eq!(checked.entries(), Catalogue::built_in().entries());
    }
}

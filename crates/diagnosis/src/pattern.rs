//! A regular expression for one line of bytes, compiled when it is first needed.
//!
//! Most programs that have a catalogue never meet most of its patterns, and compiling them all
//! would be the larger part of a pilot's start.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

/// A pattern; it is searched for anywhere in a line of any encoding.
#[derive(Debug, Clone)]
pub(crate) struct LinePattern {
    text: String,
    compiled: OnceLock<Regex>,
}

impl LinePattern {
    /// Takes a pattern that tests have compiled.
    pub(crate) fn tested(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            compiled: OnceLock::new(),
        }
    }

    /// Takes and compiles a pattern that may be wrong.
    pub(crate) fn untested(text: &str) -> Result<Self, regex::Error> {
        Ok(Self {
            text: text.to_owned(),
            compiled: OnceLock::from(compile(text)?),
        })
    }

    /// Says whether a line has the pattern.
    pub(crate) fn is_match(&self, line: &[u8]) -> bool {
        self.compiled
            .get_or_init(|| compile(&self.text).expect("a test compiles all built-in patterns"))
            .is_match(line)
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).unicode(false).build()
}

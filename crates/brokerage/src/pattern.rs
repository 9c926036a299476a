//! Names of queues as tasks write them: plain, or as regular expressions.

use regex::RegexSet;

/// Queues that a task includes or excludes.
///
/// Each entry is a regular expression that must match the whole name; a plain name matches itself.
///
/// Source: PanDA server, `pandajedi/jedicore/JediCoreUtils.py`, and the `includedSite` and
/// `excludedSite` of tasks.
#[derive(Debug, Clone)]
pub struct NamePatterns {
    set: RegexSet,
    text: String,
}

/// A text is no regular expression.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{text}` is no list of queue names or regular expressions: {problem}")]
pub struct PatternError {
    /// The entries, with commas between them.
    pub text: String,
    /// What is wrong.
    pub problem: String,
}

impl NamePatterns {
    /// Reads a list of names; none if it is empty.
    ///
    /// # Errors
    ///
    /// [`PatternError`] if one of them is no regular expression, or all together are too large.
    pub fn new<S: AsRef<str>>(entries: &[S]) -> Result<Option<Self>, PatternError> {
        let entries: Vec<&str> = entries
            .iter()
            .map(|entry| entry.as_ref().trim())
            .filter(|entry| !entry.is_empty())
            .collect();
        if entries.is_empty() {
            return Ok(None);
        }
        let text = entries.join(",");
        let whole = entries.iter().map(|entry| format!("^(?:{entry})$"));
        match RegexSet::new(whole) {
            Ok(set) => Ok(Some(Self { set, text })),
            Err(error) => Err(PatternError {
                text,
                problem: error.to_string(),
            }),
        }
    }

    /// Says whether one of the entries matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// Returns the entries, with commas between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_itself_and_a_pattern_the_whole_name() {
        let patterns = NamePatterns::new(&["JINR", "PNPI_.*"]).unwrap().unwrap();
        for (name, expected) in [
            ("JINR", true),
            ("JINR_2", false),
            ("PNPI_CPU", true),
            ("XPNPI_CPU", false),
        ] {
            assert_eq!(patterns.matches(name), expected, "{name}");
        }
    }

    #[test]
    fn an_empty_list_is_no_list_and_a_broken_one_is_refused_with_its_text() {
        assert!(NamePatterns::new::<&str>(&[]).unwrap().is_none());
        assert!(NamePatterns::new(&[" "]).unwrap().is_none());
        let error = NamePatterns::new(&["("]).expect_err("no pattern");
        assert!(error.to_string().contains("`(`"), "{error}");
    }
}

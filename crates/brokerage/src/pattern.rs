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
        let entries = filled(entries);
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

    /// Reads a list as PanDA's tasks write it; none if it is empty. A plain name matches itself. In
    /// others `*` stands for any text, and what else a regular expression knows works, too; such a
    /// pattern is searched anywhere in the name. What is no regular expression is taken as text.
    ///
    /// Source: PanDA server, `pandajedi/jedibrokerage/AtlasBrokerUtils.py` (`isMatched`) and
    /// `pandajedi/jedibrokerage/GenJobBroker.py`.
    #[must_use]
    pub fn of_task<S: AsRef<str>>(entries: &[S]) -> Option<Self> {
        let entries = filled(entries);
        if entries.is_empty() {
            return None;
        }
        let as_meant = entries.iter().map(|entry| expression_of(entry));
        let as_text = || RegexSet::new(entries.iter().map(|entry| plain_expression(entry)));
        let set = RegexSet::new(as_meant).or_else(|_| as_text());
        Some(Self {
            // A list too long for both names no queue.
            set: set.unwrap_or_else(|_| RegexSet::empty()),
            text: entries.join(","),
        })
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

/// The entries that say something, without blanks around them.
fn filled<S: AsRef<str>>(entries: &[S]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry.as_ref().trim())
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// Returns the regular expression for a name or pattern of a task.
fn expression_of(entry: &str) -> String {
    if regex::escape(entry).replace("\\-", "-").replace("\\.", ".") == entry {
        return plain_expression(entry);
    }
    let mut text = String::with_capacity(entry.len() + 4);
    let mut before = None;
    for letter in entry.chars() {
        // `A*` is meant as `A.*`; `A.*`, `[AB]*` and `(AB)*` say what they mean.
        if letter == '*' && !matches!(before, Some('.' | ')' | ']' | '\\')) {
            text.push('.');
        }
        text.push(letter);
        before = Some(letter);
    }
    match regex::Regex::new(&text) {
        Ok(_) => text,
        Err(_) => plain_expression(entry),
    }
}

/// Returns the regular expression for a text in which only `*` stands for something else.
fn plain_expression(entry: &str) -> String {
    format!("^{}$", regex::escape(entry).replace("\\*", ".*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tasks_have_names_stars_and_expressions() {
        for (entry, name, expected) in [
            ("JINR", "JINR", true),
            ("JINR", "JINR_2", false),
            ("A.B-C", "A.B-C", true),
            ("A.B", "AxB", false),
            ("DUBNA*", "SPD_DUBNA_MCORE", true),
            ("SPD*MCORE", "SPD_DUBNA_MCORE", true),
            ("MCORE*SPD", "SPD_DUBNA_MCORE", false),
            ("*", "ANY", true),
            ("SPD_.*", "SPD_DUBNA", true),
            ("^(JINR|PNPI)_", "PNPI_CPU", true),
            ("^(JINR|PNPI)_", "X_PNPI_CPU", false),
            ("(A*", "(AB", true),
            ("(A*", "AB", false),
        ] {
            let patterns = NamePatterns::of_task(&["none", entry]).unwrap();
            assert_eq!(patterns.matches(name), expected, "{entry} {name}");
        }
        assert!(NamePatterns::of_task(&["", " "]).is_none());
    }

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

//! Patterns for names: `*` stands for any characters, `?` for one.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A pattern that a whole name must match, for example `*TOKEN*`. Upper and lower case differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// Wraps a pattern; every text is one.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Returns the pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether the whole name matches. Takes at most length × length steps.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut star) = (0, None);
        let mut seen = 0;
        while seen < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(&c) if c == '?' || c == name[seen] => {
                    at += 1;
                    seen += 1;
                }
                // Let the last star take one character more, and try again behind it.
                Some(_) | None => match star {
                    Some((place, taken)) => {
                        star = Some((place, taken + 1));
                        at = place + 1;
                        seen = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_other_characters() {
        let matches = |pattern: &str, name: &str| NamePattern::new(pattern).matches(name);
        assert!(matches("*TOKEN*", "PANDA_AUTH_TOKEN_KEY"));
        assert!(matches("*.C", "SimQslPy8.C"));
        assert!(matches("a?c", "abc"));
        assert!(matches("*ab*ab", "abxab"));
        assert!(!matches("*.C", "SimQslPy8.cpp"));
        assert!(!matches("abc", "abcd"));
        assert!(!matches("a?c", "ac"));
    }

    proptest! {
        #[test]
        fn a_star_between_two_parts_matches_what_they_enclose(
            head in "[a-z]{0,4}", middle in "[a-z]{0,6}", tail in "[a-z]{0,4}",
        ) {
            let pattern = NamePattern::new(format!("{head}*{tail}"));
            let name = format!("{head}{middle}{tail}");
            prop_assert!(pattern.matches(&name));
        }
    }
}

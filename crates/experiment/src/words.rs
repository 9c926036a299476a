//! Splits a job's parameters into words by the rules of the POSIX shell, without a shell.
//!
//! Quotes and backslashes work as in a shell. Nothing else does: no variables, no globs, no
//! command substitution, no operators. So text from a job description never runs.
//! Source: POSIX.1-2024, Shell Command Language, section 2.2 (Quoting).

/// A text cannot be split into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quote is not closed.
    #[error("the {0} quote is not closed")]
    OpenQuote(char),
    /// The text ends with a backslash.
    #[error("a backslash stands at the end")]
    OpenBackslash,
}

/// Splits text into words.
///
/// # Errors
///
/// [`SplitError`] where a shell would wait for more text.
pub fn split_words(text: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => read_single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => read_double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next().ok_or(SplitError::OpenBackslash)? {
                // A backslash before a line's end joins two lines.
                '\n' => {}
                escaped => word.get_or_insert_default().push(escaped),
            },
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

fn read_single_quoted(
    chars: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), SplitError> {
    for c in chars.by_ref() {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err(SplitError::OpenQuote('\''))
}

fn read_double_quoted(
    chars: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), SplitError> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or(SplitError::OpenQuote('"'))? {
                '\n' => {}
                special @ ('$' | '`' | '"' | '\\') => word.push(special),
                other => word.extend(['\\', other]),
            },
            plain => word.push(plain),
        }
    }
    Err(SplitError::OpenQuote('"'))
}

/// Quotes a word so that [`split_words`] and every POSIX shell read it back as it is.
#[must_use]
pub fn quote_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<String> {
        split_words(text).expect("complete text")
    }

    #[test]
    fn blanks_separate_and_quotes_join() {
        assert_eq!(split("  -x 1\t'a b' \"c d\" "), ["-x", "1", "a b", "c d"]);
    }

    #[test]
    fn quoted_parts_belong_to_the_word_they_touch() {
        assert_eq!(split(r#"--name="a b"'c'd"#), ["--name=a bcd"]);
    }

    #[test]
    fn empty_quotes_are_an_empty_word() {
        assert_eq!(split("a '' \"\""), ["a", "", ""]);
    }

    #[test]
    fn backslashes_follow_the_rules_of_each_quote() {
        assert_eq!(split(r"a\ b '\n' \'"), ["a b", r"\n", "'"]);
        assert_eq!(split(r#""\n\"\$""#), [r#"\n"$"#]);
    }

    #[test]
    fn what_a_shell_would_run_stays_text() {
        assert_eq!(
            split("a; rm $HOME `id` | b"),
            ["a;", "rm", "$HOME", "`id`", "|", "b"]
        );
    }

    #[test]
    fn an_open_quote_is_refused() {
        assert_eq!(split_words("a 'b"), Err(SplitError::OpenQuote('\'')));
        assert_eq!(split_words("a \"b"), Err(SplitError::OpenQuote('"')));
        assert_eq!(split_words("a\\"), Err(SplitError::OpenBackslash));
    }

    proptest! {
        #[test]
        fn quoted_words_are_read_back(words in proptest::collection::vec(".*", 0..6)) {
            let text: Vec<String> = words.iter().map(|word| quote_word(word)).collect();
            prop_assert_eq!(split_words(&text.join(" ")), Ok(words));
        }

        #[test]
        fn splitting_any_text_never_panics(text in any::<String>()) {
            let _ = split_words(&text);
        }
    }
}

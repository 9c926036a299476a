//! Words of a command line, as a POSIX shell cuts and quotes them.

/// Cuts a text into words.
///
/// # Errors
///
/// A quotation or an escape that does not end.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    let unended = |what: &str| format!("{what} does not end in `{text}`");
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(inner) => word.push(inner),
                        None => return Err(unended("a quotation")),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(escaped @ ('"' | '\\')) => word.push(escaped),
                            Some(other) => word.extend(['\\', other]),
                            None => return Err(unended("a quotation")),
                        },
                        Some(inner) => word.push(inner),
                        None => return Err(unended("a quotation")),
                    }
                }
            }
            '\\' => {
                let escaped = chars.next().ok_or_else(|| unended("an escape"))?;
                word.get_or_insert_default().push(escaped);
            }
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Quotes a word so that a shell takes it for one.
pub(super) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\"'\"'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_by_a_shell() {
        let words = split(r#"--outputs a.txt  --exec 'x "y"' "a\"b\c" d\ e ''"#).unwrap();
        assert_eq!(
            words,
            [
                "--outputs",
                "a.txt",
                "--exec",
                "x \"y\"",
                "a\"b\\c",
                "d e",
                ""
            ]
        );
        for text in ["'a", "\"a", "a\\", "\"a\\"] {
            assert!(split(text).unwrap_err().contains("does not end"), "{text}");
        }
    }

    #[test]
    fn quoted_words_are_cut_to_what_they_were() {
        for word in ["", "a b", "it's", "a.txt", "$HOME", "\\", "%IN"] {
            assert_eq!(split(&quote(word)).unwrap(), [word]);
        }
    }
}

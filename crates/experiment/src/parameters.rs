//! Job parameters as the payload gets them: without what is meant for the pilot.
//!
//! Source: Pilot 3, `pilot/info/jobdata.py`, `clean__jobparams` and `extract_container_image`.
//! What is left is the job's own text: it is neither quoted anew nor run by a shell.

use crate::words::{SplitError, split_words};

/// Options with a value that are meant for the pilot. The image is used, the others are dropped.
const PILOT_OPTIONS: [&str; 4] = [
    IMAGE_OPTION,
    "--overwriteQueueData",
    "--overwriteStorageData",
    "--overwriteQueuedata",
];
const IMAGE_OPTION: &str = "--containerImage";
const ZIP_MAP: (&str, &str) = ("<ZIP_MAP>", "</ZIP_MAP>");

/// A job's parameters, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters {
    /// The text for the payload.
    pub text: String,
    /// Its words.
    pub words: Vec<String>,
    /// The image that `--containerImage` names, empty if none.
    pub image: String,
}

impl Parameters {
    /// Takes a job's parameters apart.
    ///
    /// # Errors
    ///
    /// [`SplitError`] where a shell would wait for more text.
    pub fn read(text: &str) -> Result<Self, SplitError> {
        let text = without_zip_map(text);
        let is_plain = !PILOT_OPTIONS.iter().any(|option| text.contains(option));
        if is_plain {
            let words = split_words(&text)?;
            return Ok(Self {
                text,
                words,
                image: String::new(),
            });
        }
        let mut own = Vec::new();
        let mut image = String::new();
        let mut words = split_words(&text)?.into_iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            if !PILOT_OPTIONS.contains(&name) {
                own.push(word);
                continue;
            }
            let is_image = name == IMAGE_OPTION;
            let value = value.or_else(|| words.next()).unwrap_or_default();
            if is_image && image.is_empty() {
                image = value;
            }
        }
        let text: Vec<String> = own
            .iter()
            .map(|word| crate::words::quote_word(word))
            .collect();
        Ok(Self {
            text: text.join(" "),
            words: own,
            image,
        })
    }
}

/// Cuts out the list of names that only the event service needs, with quotes around it.
fn without_zip_map(text: &str) -> String {
    let (open, close) = ZIP_MAP;
    let Some((before, rest)) = text.split_once(open) else {
        return text.to_owned();
    };
    let Some((_, after)) = rest.split_once(close) else {
        return text.to_owned();
    };
    let before = before.strip_suffix(['\'', '"']).unwrap_or(before);
    let after = after.strip_prefix(['\'', '"']).unwrap_or(after);
    format!("{}{after}", before.trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Parameters {
        Parameters::read(text).expect("complete")
    }

    #[test]
    fn parameters_without_options_for_the_pilot_stay_as_they_are() {
        let text = r#"42,  "MC 2025", 1000"#;
        let parameters = read(text);
        assert_eq!(parameters.text, text);
        assert_eq!(parameters.words, ["42,", "MC 2025,", "1000"]);
    }

    #[test]
    fn the_image_is_taken_out_in_both_spellings() {
        for text in [
            "-a 1 --containerImage docker://x/y:1 -b",
            "-a 1 --containerImage=docker://x/y:1 -b",
        ] {
            let parameters = read(text);
            assert_eq!(parameters.image, "docker://x/y:1");
            assert_eq!(parameters.words, ["-a", "1", "-b"]);
            assert_eq!(parameters.text, "-a 1 -b");
        }
    }

    #[test]
    fn overwritten_queue_data_and_the_zip_map_do_not_reach_the_payload() {
        let text = r#"-a "<ZIP_MAP>x:y</ZIP_MAP>" --overwriteQueueData "{'maxrss': 1}" -b 'c d'"#;
        assert_eq!(read(text).words, ["-a", "-b", "c d"]);
    }

    #[test]
    fn an_image_option_without_a_value_names_none() {
        assert_eq!(read("-a --containerImage").image, "");
    }

    proptest! {
        #[test]
        fn reading_any_text_never_panics(text in any::<String>()) {
            let _ = Parameters::read(&text);
        }
    }
}

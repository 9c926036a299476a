//! Placeholders in the command of a worker, such as `{queue}`.
//!
//! `{{` and `}}` stand for braces. No word passes through a shell.

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Queue,
    Server,
    HarvesterId,
    WorkerId,
    WorkFolder,
}

/// `{pandaqueue}` is how pilots write it in their URLs, where it means the same.
const NAMES: [(&str, Placeholder); 6] = [
    ("queue", Placeholder::Queue),
    ("pandaqueue", Placeholder::Queue),
    ("server", Placeholder::Server),
    ("harvester_id", Placeholder::HarvesterId),
    ("worker_id", Placeholder::WorkerId),
    ("workdir", Placeholder::WorkFolder),
];

/// A word of a command with its placeholders found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

/// What the placeholders of one worker's command become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) queue: &'a str,
    pub(crate) server: &'a str,
    pub(crate) harvester_id: &'a str,
    pub(crate) worker_id: &'a str,
    pub(crate) work_folder: &'a str,
}

/// A word's braces mean nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{word}` has `{{{found}`, which is no placeholder: allowed are {}, and `{{{{` and `}}}}` for braces",
    allowed()
)]
pub(crate) struct TemplateError {
    word: String,
    found: String,
}

fn allowed() -> String {
    NAMES.map(|(name, _)| format!("`{{{name}}}`")).join(", ")
}

impl Template {
    /// Finds the placeholders of a word.
    pub(crate) fn parse(word: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = word;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let tail = &rest[at..];
            if tail.starts_with("{{") || tail.starts_with("}}") {
                text.push_str(&tail[..1]);
                rest = &tail[2..];
                continue;
            }
            let (name, after) = tail[1..].split_once('}').unwrap_or((&tail[1..], ""));
            let known = NAMES.iter().find(|(known, _)| *known == name);
            let Some((_, placeholder)) = known.filter(|_| tail.contains('}')) else {
                return Err(TemplateError {
                    word: word.to_owned(),
                    found: name.to_owned(),
                });
            };
            pieces.push(Piece::Text(std::mem::take(&mut text)));
            pieces.push(Piece::Value(*placeholder));
            rest = after;
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Ok(Self(pieces))
    }

    /// Puts values in the places of the placeholders.
    pub(crate) fn fill(&self, values: Values<'_>) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value(Placeholder::Queue) => values.queue.to_owned(),
            Piece::Value(Placeholder::Server) => values.server.to_owned(),
            Piece::Value(Placeholder::HarvesterId) => values.harvester_id.to_owned(),
            Piece::Value(Placeholder::WorkerId) => values.worker_id.to_owned(),
            Piece::Value(Placeholder::WorkFolder) => values.work_folder.to_owned(),
        };
        self.0.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values {
        queue: "JINR",
        server: "http://s",
        harvester_id: "h",
        worker_id: "7",
        work_folder: "/w",
    };

    fn filled(word: &str) -> String {
        Template::parse(word).unwrap().fill(VALUES)
    }

    #[test]
    fn placeholders_become_values_and_doubled_braces_braces() {
        assert_eq!(
            filled("{server}/c/{pandaqueue}.json"),
            "http://s/c/JINR.json"
        );
        assert_eq!(filled("{{\"a\": {worker_id}}}"), "{\"a\": 7}");
        assert_eq!(filled("plain"), "plain");
    }

    #[test]
    fn an_unknown_placeholder_is_refused_with_the_known_ones() {
        for word in ["{que}", "{queue", "}", "a{"] {
            let error = Template::parse(word).expect_err(word);
            assert!(error.to_string().contains("`{queue}`, "), "{error}");
        }
    }
}

//! Explains an error that arrived as a number and a text, from any component, ours or not.

use ailurus_model::Blame;

use crate::{
    catalogue::Catalogue,
    entry::{Action, Category, Direction, Entry, ErrorSource, Scope},
};

/// What is to be said and done about one error that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The id of the catalogue's entry that explains it.
    pub entry: String,
    /// The pilot's code that the entry gives, else the number that arrived.
    pub code: i64,
    /// Who can do something about it.
    pub blame: Blame,
    /// Why it happens, in one sentence.
    pub cause: String,
    /// What helps, in one sentence.
    pub remedy: String,
    /// What to do without asking anybody.
    pub action: Action,
}

impl Catalogue {
    /// Explains an error that arrived over the wire, also from Pilot 3.
    ///
    /// A text that has a known pattern says more than a number and comes first, except that some
    /// numbers, such as that of a looping job, leave nothing open. Then come the number, the exit
    /// code of a payload, and a sensible answer for all others of the source.
    #[must_use]
    pub fn explain(&self, source: ErrorSource, code: i64, text: &str) -> Explanation {
        let by_number = self.entry_of_number(source, known_number(source, code));
        let direction = by_number.and_then(|entry| entry.category.direction());
        let by_text = || {
            scopes(source, by_number)
                .iter()
                .find_map(|scope| self.entry_of_text(*scope, text))
        };
        let by_exit = || {
            self.explain_exit(code)
                .filter(|_| source == ErrorSource::Payload)
        };
        let entry = by_number
            .filter(|entry| entry.decisive)
            .or_else(by_text)
            .or(by_number)
            .or_else(by_exit)
            .unwrap_or_else(|| self.fallback(source));
        explanation(entry, code, direction)
    }
}

/// Returns the number under which a code stands in the catalogue: PanDA marks some of the pilot's
/// codes with a minus.
fn known_number(source: ErrorSource, code: i64) -> i64 {
    match source {
        ErrorSource::Pilot => code.saturating_abs(),
        ErrorSource::Payload
        | ErrorSource::Dispatcher
        | ErrorSource::Ddm
        | ErrorSource::TaskBuffer
        | ErrorSource::Worker => code,
    }
}

/// Returns in which kinds of text a report's words are to be looked for, best first.
fn scopes(source: ErrorSource, by_number: Option<&Entry>) -> &'static [Scope] {
    match source {
        ErrorSource::Pilot => match by_number {
            None => &[Scope::Payload, Scope::Transfer, Scope::Worker],
            Some(entry) if is_about_data(entry.category) => &[Scope::Transfer],
            Some(_) => &[Scope::Payload],
        },
        ErrorSource::Payload => &[Scope::Payload, Scope::Worker],
        ErrorSource::Ddm => &[Scope::Transfer],
        ErrorSource::Dispatcher | ErrorSource::TaskBuffer | ErrorSource::Worker => &[Scope::Worker],
    }
}

fn is_about_data(category: Category) -> bool {
    match category {
        Category::StageIn
        | Category::StageOut
        | Category::Transfer
        | Category::Service
        | Category::Network
        | Category::Credentials => true,
        Category::Program
        | Category::Software
        | Category::Container
        | Category::Memory
        | Category::Time
        | Category::Disk
        | Category::Input
        | Category::Output
        | Category::Configuration
        | Category::Batch
        | Category::Control
        | Category::EventService
        | Category::Pilot => false,
    }
}

fn explanation(entry: &Entry, arrived: i64, direction: Option<Direction>) -> Explanation {
    let code = match direction {
        Some(direction) => entry.code_in(direction),
        // Without a direction, only a code that is the same both ways is known.
        None => entry.code.filter(|_| entry.stage_out_code.is_none()),
    };
    Explanation {
        entry: entry.id.clone(),
        code: code.map_or(arrived, |code| i64::from(code.number())),
        blame: entry.blame,
        cause: entry.cause.clone(),
        remedy: entry.remedy.clone(),
        action: entry.action,
    }
}

#[cfg(test)]
mod tests;

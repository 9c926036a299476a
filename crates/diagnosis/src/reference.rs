//! Writes the reference page of errors, `docs/errors.md`, from the catalogue.
//!
//! A test compares the committed page with this text; `cargo xtask docs` writes it anew.

use crate::{
    catalogue::Catalogue,
    entry::{Entry, ErrorSource, Scope},
};

/// The page's text before its tables.
const HEAD: &str = "\
# Errors: causes and remedies

<!-- Made from `error-catalogue/` by `cargo xtask docs`; change the catalogue, not this page. -->

This page lists every error that Ailurus knows: what it means, what helps, whom to ask, and what is
done about it without asking anybody. Search it for the code or the name of an error.

Where a report has both a number and a text, a known pattern in the text decides, except for numbers
that leave nothing open. In each table of texts, what stands higher is preferred.

| Done by itself | means |
|---|---|
| retry-here | the job runs again, also in the same place |
| retry-elsewhere | the job runs again, on another queue if one may run it |
| more-memory | the job runs again with a larger memory request |
| other-replica | the job runs again, on another queue if one may run it, where another copy may be read |
| exclude-node | the job runs again, on another queue if one may run it; the node should get no more jobs until somebody has looked at it |
| do-not-retry | the same would happen again, so the job stays failed |

| Ask | who is |
|---|---|
| payload | the authors of the program |
| user | the person who submitted the task |
| site | the administrators of the worker node |
| storage | the administrators of the storage |
| network | the administrators of the network, or of a service behind it |
| server | the operators of the PanDA server |
| pilot | the operators of pilots and Harvester |
| batch | the administrators of the batch system |
| credentials | whoever renews proxies, certificates and tokens |
";

/// The columns that every table ends with.
const COMMON_COLUMNS: [&str; 4] = ["Cause", "Remedy", "Ask", "Done by itself"];

/// Returns the page of a catalogue as Markdown.
#[must_use]
pub fn render_reference(catalogue: &Catalogue) -> String {
    let mut page = HEAD.to_owned();
    for scope in Scope::ALL {
        render_texts(&mut page, *scope, catalogue.entries());
    }
    render_exit_codes(&mut page, catalogue.entries());
    for source in ErrorSource::ALL {
        render_numbers(&mut page, *source, catalogue.entries());
    }
    page
}

fn render_texts(page: &mut String, scope: Scope, entries: &[Entry]) {
    let (title, words) = match scope {
        Scope::Payload => (
            "Found in a payload's output",
            "Looked for in the output of payloads and of their containers.",
        ),
        Scope::Transfer => (
            "Found in a transfer's output",
            "Looked for in the output of transfer tools and the answers of storage. Of two codes, \
             the first is that of stage-in and the second that of stage-out.",
        ),
        Scope::Worker => (
            "Found in a batch system's message",
            "Looked for in what batch systems, computing elements and Harvester say of workers.",
        ),
    };
    section(page, title, words, ["Name", "Code", "Found in lines like"]);
    for entry in entries.iter().filter(|entry| entry.scope == Some(scope)) {
        let codes: Vec<String> = [entry.code, entry.stage_out_code]
            .into_iter()
            .flatten()
            .map(|code| code.number().to_string())
            .collect();
        let lines: Vec<String> = entry.examples.iter().map(|line| code_cell(line)).collect();
        let first = [code_cell(&entry.id), codes.join(" / "), lines.join("<br>")];
        row(page, first, entry);
    }
}

fn render_exit_codes(page: &mut String, entries: &[Entry]) {
    let words = "A signal is given as 128 + its number, as shells do.";
    section(
        page,
        "Exit codes of a payload",
        words,
        ["Exit code", "Name", "Code"],
    );
    for entry in entries.iter().filter(|entry| !entry.exit_codes.is_empty()) {
        let code = entry.code.map(|code| code.number().to_string());
        let first = [
            numbers(&entry.exit_codes),
            code_cell(&entry.id),
            code.unwrap_or_default(),
        ];
        row(page, first, entry);
    }
}

fn render_numbers(page: &mut String, source: ErrorSource, entries: &[Entry]) {
    let (title, words) = match source {
        ErrorSource::Pilot => ("Codes of the pilot", "The field `pilotErrorCode` of a job."),
        ErrorSource::Payload => (
            "Codes of payloads",
            "The fields `exeErrorCode` and `transExitCode` of a job: see the exit codes above.",
        ),
        ErrorSource::Dispatcher => (
            "Codes of the server's dispatcher",
            "The field `jobDispatcherErrorCode` of a job.",
        ),
        ErrorSource::Ddm => (
            "Codes of data management",
            "The field `ddmErrorCode` of a job.",
        ),
        ErrorSource::TaskBuffer => (
            "Codes of the server's job table",
            "The field `taskBufferErrorCode` of a job.",
        ),
        ErrorSource::Worker => ("Codes of workers", "The field `supErrorCode` of a job."),
    };
    section(page, title, words, ["Code", "Name", "Message"]);
    for entry in entries {
        let Some(explains) = entry.explains.as_ref().filter(|it| it.source == source) else {
            continue;
        };
        let codes = match explains.codes.as_slice() {
            [] => "any other".to_owned(),
            codes => numbers(codes),
        };
        let message = entry.code.map_or("", |code| code.message());
        row(
            page,
            [codes, code_cell(&entry.id), message.to_owned()],
            entry,
        );
    }
}

fn section(page: &mut String, title: &str, words: &str, columns: [&str; 3]) {
    let columns = columns
        .into_iter()
        .chain(COMMON_COLUMNS)
        .collect::<Vec<_>>();
    let rule = "---|".repeat(columns.len());
    page.push_str(&format!(
        "\n## {title}\n\n{words}\n\n| {} |\n|{rule}\n",
        columns.join(" | ")
    ));
}

fn row(page: &mut String, first: [String; 3], entry: &Entry) {
    let common = [
        entry.cause.clone(),
        entry.remedy.clone(),
        entry.blame.to_string(),
        entry.action.to_string(),
    ];
    let cells: Vec<String> = first
        .iter()
        .chain(&common)
        .map(|cell| cell.replace('|', "\\|"))
        .collect();
    page.push_str(&format!("| {} |\n", cells.join(" | ")));
}

/// Sets a text in code type, with more backticks around it than it has in a row.
fn code_cell(text: &str) -> String {
    if text.contains('`') {
        format!("`` {} ``", text.trim())
    } else {
        format!("`{}`", text.trim())
    }
}

fn numbers(codes: &[i64]) -> String {
    codes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

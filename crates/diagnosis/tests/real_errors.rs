//! How much of real error messages the catalogue explains.
//!
//! The messages are public samples of a production system, kept beside the project and not in it
//! (`hep-errors` in `$AILURUS_SHARED_DATA` or `../shared/data`); without them nothing is tested.

#![expect(
    clippy::print_stdout,
    reason = "the test is a measurement and shows its figures"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use ailurus_diagnosis::{Catalogue, ErrorSource};
use ailurus_model::ErrorCode;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::built_in);

/// The folder with the samples, if it is there.
#[expect(
    clippy::disallowed_methods,
    reason = "a test may look where its samples are"
)]
fn samples() -> Option<PathBuf> {
    let named = std::env::var("AILURUS_SHARED_DATA").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = named.unwrap_or_else(|_| beside()).join("hep-errors");
    if !folder.is_dir() {
        println!(
            "skipped: no samples in `{}`; set AILURUS_SHARED_DATA",
            folder.display()
        );
        return None;
    }
    Some(folder)
}

/// The rows of a sample without its heading.
#[expect(clippy::disallowed_methods, reason = "a test may read its samples")]
fn rows(folder: &Path, file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder.join(file)).expect("the sample is a text file");
    let mut rows = parse_csv(&text);
    rows.remove(0);
    rows
}

/// Reads fields that may be quoted and then hold commas, doubled quotes and line feeds.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut field)),
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    rows
}

/// The share of cases, by weight, that get another answer than that nothing is known.
fn share_explained(source: ErrorSource, cases: impl Iterator<Item = (u64, i64, String)>) -> f64 {
    let (mut known, mut all) = (0, 0);
    for (weight, code, text) in cases {
        all += weight;
        let explanation = CATALOGUE.explain(source, code, &text);
        if explanation.entry == format!("unknown-{source}-error") {
            println!(
                "{weight:>7} unknown: {code} {}",
                text.lines().next().unwrap_or_default()
            );
        } else {
            known += weight;
        }
    }
    let share = u32::try_from(known * 1000 / all).expect("a share is at most 1000 per mille");
    let share = f64::from(share) / 1000.0;
    println!("{source}: {share} of {all} explained");
    share
}

/// The cases of a file whose first two columns are a number of cases and their common pattern.
fn clusters(folder: &Path, file: &str, code: fn(&str) -> i64) -> Vec<(u64, i64, String)> {
    let case = |row: Vec<String>| {
        let weight = row[0].parse().expect("the first column is a count");
        (weight, code(&row[1]), row[1].clone())
    };
    rows(folder, file).into_iter().map(case).collect()
}

/// The code with whose standard message a text begins, 0 if there is none.
fn code_of_message(text: &str) -> i64 {
    let having = ErrorCode::ALL
        .iter()
        .filter(|code| text.starts_with(code.message()));
    let longest = having.max_by_key(|code| code.message().len());
    longest.map_or(0, |code| i64::from(code.number()))
}

#[test]
fn most_texts_of_failed_payloads_are_explained() {
    let Some(folder) = samples() else { return };
    let cases = rows(&folder, "payload_errors.csv")
        .into_iter()
        .map(|row| (1, row[2].parse().expect("an exit code"), row[3].clone()));
    assert!(share_explained(ErrorSource::Payload, cases) > 0.8);
}

#[test]
fn nearly_all_texts_of_failed_transfers_are_explained() {
    let Some(folder) = samples() else { return };
    let cases = rows(&folder, "fts_errors.csv")
        .into_iter()
        .map(|row| (1, 0, row[1].clone()));
    assert!(share_explained(ErrorSource::Ddm, cases) > 0.98);
    let cases = clusters(&folder, "fts_error_clusters.csv", |_| 0);
    assert!(share_explained(ErrorSource::Ddm, cases.into_iter()) > 0.98);
}

#[test]
fn nearly_all_errors_of_pilots_are_explained() {
    let Some(folder) = samples() else { return };
    let cases = clusters(&folder, "pilot_error_clusters.csv", code_of_message);
    assert!(share_explained(ErrorSource::Pilot, cases.into_iter()) > 0.9);
}

#[test]
fn most_failures_of_workers_are_explained() {
    let Some(folder) = samples() else { return };
    let cases = clusters(&folder, "factory_error_clusters.csv", |_| 0);
    assert!(share_explained(ErrorSource::Worker, cases.into_iter()) > 0.97);
}

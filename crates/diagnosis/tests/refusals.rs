//! What the writer of a broken catalogue is told: file, key, value and what is allowed.

use ailurus_diagnosis::{Catalogue, CatalogueError, ErrorSource};

/// A file with one sound entry, of which one line is replaced.
fn with_line(key: &str, line: &str) -> String {
    let sound = [
        ("id", "id = \"made-up\""),
        ("code", "code = 1305"),
        ("category", "category = \"program\""),
        ("blame", "blame = \"payload\""),
        ("action", "action = \"retry-here\""),
        ("cause", "cause = \"It is made up.\""),
        ("remedy", "remedy = \"Nothing helps.\""),
        (
            "patterns",
            "patterns = [{ literal = \"abcd\", pattern = 'b+' }]",
        ),
        ("examples", "examples = [\"abcd\"]"),
    ];
    assert!(sound.iter().any(|(name, _)| *name == key));
    let lines = sound.map(|(name, sound)| if name == key { line } else { sound });
    format!("scope = \"payload\"\n[[entry]]\n{}\n", lines.join("\n"))
}

fn read(text: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::built_in_with(&[("mine.toml", text)])
}

#[track_caller]
fn assert_refused(text: &str, parts: &[&str]) {
    let message = read(text).expect_err("the text is broken").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_sound_file_is_taken_and_preferred() {
    let catalogue = read(&with_line("id", "id = \"made-up\"")).unwrap();
    assert_eq!(
        catalogue.scan(b"std::bad_alloc abcd", 1)[0].entry.id,
        "made-up"
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_allowed_ones() {
    assert_refused(
        &with_line("code", "codes = 1305"),
        &["mine.toml", "line 4", "`codes`", "stage_out_code", "remedy"],
    );
    assert_refused(
        &with_line(
            "patterns",
            "patterns = [{ literal = \"abcd\", regex = 'b' }]",
        ),
        &["mine.toml", "`regex`", "`literal` or `pattern`"],
    );
    assert_refused(
        "scopes = \"payload\"\nentry = []\n",
        &["mine.toml", "line 1", "`scopes`", "`scope` or `entry`"],
    );
}

#[test]
fn a_missing_key_is_named() {
    assert_refused(&with_line("remedy", ""), &["mine.toml", "`remedy`"]);
}

#[test]
fn a_word_that_is_not_in_its_list_is_refused_with_the_list() {
    assert_refused(
        &with_line("action", "action = \"give-up\""),
        &[
            "mine.toml",
            "line 7",
            "action = \"give-up\"",
            "`do-not-retry`",
        ],
    );
    assert_refused(
        &with_line("blame", "blame = \"weather\""),
        &["`weather`", "`credentials`"],
    );
    assert_refused(
        &with_line("category", "category = \"odd\""),
        &["`odd`", "`event-service`"],
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    assert_refused(
        "scope = \"payload\"\n[[entry\n",
        &["mine.toml", "line 2", "[[entry"],
    );
}

#[test]
fn a_bad_value_is_refused_with_what_is_allowed() {
    for (key, line, parts) in [
        ("id", "id = \"Made_Up\"", &["`id`", "`Made_Up`", "a-z"][..]),
        ("id", "id = \"\"", &["`id`", "a-z"]),
        (
            "code",
            "code = 5",
            &["made-up", "`code`", "`5`", "registry"],
        ),
        ("code", "code = -1305", &["`code`", "`-1305`", "registry"]),
        (
            "code",
            "explains = { source = \"pilot\", codes = [5] }",
            &["`explains`", "`5`", "registry"],
        ),
        ("cause", "cause = \"\"", &["`cause`", "full stop"]),
        ("cause", "cause = \".\"", &["`cause`", "full stop"]),
        (
            "remedy",
            "remedy = \"no stop\"",
            &["`remedy`", "`no stop`", "full stop"],
        ),
        (
            "patterns",
            "patterns = [{ literal = \"abc\" }]",
            &["`literal`", "`abc`", "4 bytes"],
        ),
        (
            "patterns",
            "patterns = [{ literal = \"  abc \" }]",
            &["`literal`", "4 bytes"],
        ),
        (
            "patterns",
            "patterns = [{ literal = \"ab\\ncd\" }]",
            &["`literal`", "one line"],
        ),
        (
            "patterns",
            "patterns = [{ literal = \"abcd\", pattern = '(b' }]",
            &["`pattern`", "`(b`", "unclosed group"],
        ),
        ("examples", "", &["`examples`", "at least one line"]),
    ] {
        assert_refused(&with_line(key, line), &[&["mine.toml"], parts].concat());
    }
}

#[test]
fn patterns_without_a_scope_are_refused() {
    let text = with_line("id", "id = \"made-up\"").replace("scope = \"payload\"\n", "");
    assert_refused(&text, &["mine.toml", "made-up", "`patterns`", "`scope`"]);
}

#[test]
fn what_another_entry_has_is_refused() {
    let taken = with_line("id", "id = \"bus-error\"");
    assert_refused(&taken, &["payload.toml", "`id`", "`bus-error`"]);
    let taken = with_line(
        "code",
        "explains = { source = \"dispatcher\", codes = [100] }",
    );
    assert_refused(
        &taken,
        &["server-codes.toml", "dispatcher 100", "`made-up`"],
    );
    let taken = with_line("code", "explains = { source = \"ddm\", codes = [] }");
    assert_refused(
        &taken,
        &["server-codes.toml", "`unknown-ddm-error`", "`made-up`"],
    );
    let taken = with_line("code", "exit_codes = [137]");
    assert_refused(
        &taken,
        &["exit-codes.toml", "`exit_codes`", "`137`", "`made-up`"],
    );
}

#[test]
fn a_source_without_an_entry_for_its_other_codes_is_refused() {
    let text = with_line("id", "id = \"made-up\"");
    let error = Catalogue::from_toml(&[("mine.toml", &text)]).unwrap_err();
    assert_eq!(
        error,
        CatalogueError::NoFallback {
            of: ErrorSource::Pilot
        }
    );
}

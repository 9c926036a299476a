//! Names of all kinds go to the storage and come back.

use std::fs;

use ailurus_transfer::{Direction, Transfer, http::encode_path};

use super::{Stand, data, known, transfer};

/// Names that jobs may give their files, and some that only malice gives.
const NAMES: [&str; 14] = [
    "plain.root",
    "with blank.root",
    "λ-ж-雪.root",
    "50%.root",
    "a%20b",
    "%41",
    "hash#1",
    "what?.root",
    "a&b=c+d;e,f",
    "line\nend",
    "tab\tand\\back",
    "quote'\"<>",
    "~.-_",
    "ends with dot.",
];

#[test]
fn every_name_is_stored_and_fetched_as_it_is() {
    let stand = Stand::new();
    for name in NAMES {
        let content = data(name.len() * 100);
        let path = format!("/spd/{name}");
        let url = format!("{}/spd/{}", stand.store.endpoint(), encode_path(name));
        let out = Transfer {
            url: url.clone(),
            ..stand.stage_out("/x", &content)
        };
        stand.run(&out).expect(name);
        assert_eq!(stand.store.stored(&path), Some(content.clone()), "{name}");
        let fetch = transfer(Direction::StageIn, &url, &stand.local("in"));
        stand.run(&known(fetch, &content)).expect(name);
        assert_eq!(fs::read(stand.local("in")).expect("there"), content);
    }
}

#[test]
fn urls_that_nobody_encoded_mean_the_name_that_they_show() {
    let stand = Stand::new();
    // All but those in which a part would be understood as an encoding or a query.
    for name in NAMES {
        if ["a%20b", "%41", "what?.root"].contains(&name) {
            continue;
        }
        let content = data(100);
        stand.store.put(&format!("/spd/{name}"), content.clone());
        let url = format!("{}/spd/{name}", stand.store.endpoint());
        let fetch = transfer(Direction::StageIn, &url, &stand.local("in"));
        stand.run(&known(fetch, &content)).expect(name);
    }
}

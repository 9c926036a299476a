//! Lists of files, made entries and ranges of events.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{RefineSettings, TaskParams, refine, split::EventRange};

fn task(changes: Value) -> RefinedTask {
    let mut map = json!({"taskName": "t", "jobParameters": []});
    for (key, value) in changes.as_object().expect("an object") {
        map[key] = value.clone();
    }
    refine(
        &TaskParams::from_value(map).expect("an object"),
        &RefineSettings::default(),
    )
    .expect("a good map")
}

fn with_input(mut changes: Value, attributes: &Value) -> RefinedTask {
    let mut item =
        json!({"type": "template", "param_type": "input", "dataset": "d", "value": "${IN}"});
    for (key, value) in attributes.as_object().expect("an object") {
        item[key] = value.clone();
    }
    changes["jobParameters"] = json!([item]);
    task(changes)
}

fn files(names: &[&str]) -> Vec<Content> {
    names
        .iter()
        .map(|lfn| Content {
            lfn: (*lfn).to_owned(),
            ..Content::default()
        })
        .collect()
}

fn picked(attributes: &Value, names: &[&str]) -> Vec<String> {
    let task = with_input(json!({}), attributes);
    let picked = select(files(names), &task.inputs[0], 7).expect("good patterns");
    picked.into_iter().map(|file| file.lfn).collect()
}

#[test]
fn files_are_picked_by_patterns_lists_and_offset_and_sorted() {
    let names = ["c.root", "a.root", "b.root", "d.log", "a.root"];
    assert_eq!(
        picked(&json!({}), &names),
        ["a.root", "b.root", "c.root", "d.log"]
    );
    assert_eq!(
        picked(&json!({"include": "root$", "exclude": "^b"}), &names),
        ["a.root", "c.root"]
    );
    assert_eq!(
        picked(&json!({"files": ["c.root", "spd:d.log"]}), &names),
        ["c.root", "d.log"]
    );
    assert_eq!(picked(&json!({"offset": 3}), &names), ["d.log"]);
    assert_eq!(picked(&json!({"usedup": true}), &names).len(), 5);
    let mut random = picked(&json!({"random": true}), &names);
    assert_eq!(random, picked(&json!({"random": true}), &names));
    random.sort();
    assert_eq!(random, ["a.root", "b.root", "c.root", "d.log"]);
}

#[test]
fn a_pattern_that_is_none_is_named() {
    let task = with_input(json!({}), &json!({"include": "a("}));
    let error = select(files(&["a"]), &task.inputs[0], 0).expect_err("an open bracket");
    assert!(
        error.to_string().starts_with("`a(` is no pattern of names"),
        "{error}"
    );
}

#[test]
fn events_that_fill_jobs_come_first() {
    let with = |lfn: &str, events| Content {
        lfn: lfn.to_owned(),
        events,
        ..Content::default()
    };
    let mut all = vec![
        with("a", Some(150)),
        with("c", Some(100)),
        with("b", Some(200)),
        with("d", Some(170)),
    ];
    align_events(&mut all, 100);
    let names: Vec<&str> = all.iter().map(|file| file.lfn.as_str()).collect();
    assert_eq!(names, ["b", "c", "d", "a"]);
}

/// Name, first and last event of a range, number of its first event in the task.
type Range = (String, Option<(u64, u64)>, Option<u64>);

fn ranges(task: &RefinedTask, files: Vec<Content>) -> Vec<Range> {
    let rules = RangeRules::of(task, task.master().expect("a master"));
    Ranges::new(files.into_iter(), rules)
        .map(|content| {
            let range = content.range.map(|EventRange { start, end }| (start, end));
            (content.lfn, range, content.first_event)
        })
        .collect()
}

#[test]
fn a_pseudo_input_falls_apart_into_its_events() {
    let task = task(json!({"noInput": true, "nEvents": 25, "nEventsPerJob": 10}));
    let made = made_contents(&task, &task.inputs[0], 0).expect("one entry");
    let name = PSEUDO_LFN.to_owned();
    let expected = [
        (name.clone(), Some((0, 9)), Some(1)),
        (name.clone(), Some((10, 19)), Some(11)),
        (name, Some((20, 24)), Some(21)),
    ];
    assert_eq!(ranges(&task, made), expected);
}

#[test]
fn ranges_go_on_in_the_next_file() {
    let task = with_input(
        json!({"nEventsPerInputFile": 150, "nEventsPerJob": 100}),
        &json!({}),
    );
    let expected = [
        ("a".to_owned(), Some((0, 99)), Some(1)),
        ("a".to_owned(), Some((100, 149)), Some(101)),
        ("b".to_owned(), Some((0, 49)), Some(151)),
        ("b".to_owned(), Some((50, 149)), Some(201)),
    ];
    assert_eq!(ranges(&task, files(&["a", "b"])), expected);
}

#[test]
fn target_events_make_equal_ranges() {
    let task = with_input(
        json!({"nEventsPerInputFile": 100, "tgtNumEventsPerJob": 30}),
        &json!({}),
    );
    let made: Vec<_> = ranges(&task, files(&["a"]))
        .into_iter()
        .map(|(_, range, _)| range)
        .collect();
    assert_eq!(
        made,
        [
            Some((0, 24)),
            Some((25, 49)),
            Some((50, 74)),
            Some((75, 99))
        ]
    );
}

#[test]
fn files_and_events_end_the_list() {
    let few = with_input(json!({"nFiles": 2}), &json!({}));
    assert_eq!(ranges(&few, files(&["a", "b", "c"])).len(), 2);
    let events = with_input(
        json!({"nEvents": 150, "nEventsPerInputFile": 100}),
        &json!({}),
    );
    assert_eq!(ranges(&events, files(&["a", "b", "c"])).len(), 2);
}

#[test]
fn running_numbers_are_as_many_as_jobs() {
    let count = |changes: Value, attributes: &Value| {
        let mut task = with_input(changes, attributes);
        task.inputs[0].kind = InputKind::Sequence;
        made_contents(&task, &task.inputs[0], 5).map(|made| (made.len(), made[0].lfn.clone()))
    };
    let of = |length: usize, first: &str| Ok((length, first.to_owned()));
    assert_eq!(
        count(json!({"nEvents": 95, "nEventsPerJob": 10}), &json!({})),
        of(10, "1")
    );
    assert_eq!(
        count(json!({}), &json!({"num_records": 7, "offset": 100})),
        of(7, "101")
    );
    assert_eq!(
        count(
            json!({"nFiles": 3, "nEventsPerInputFile": 25, "nEventsPerJob": 10}),
            &json!({})
        ),
        of(9, "1")
    );
    assert_eq!(count(json!({}), &json!({})), of(10_000, "1"));
    assert!(count(json!({"nFiles": 300_000}), &json!({})).is_err());
}

#[test]
fn physical_names_become_numbered_entries() {
    let task =
        task(json!({"noInput": true, "pfnList": ["root://x//d/a.root^5", "root://x//d/b.root"]}));
    let made = made_contents(&task, &task.inputs[0], 0).expect("two entries");
    let names: Vec<(&str, Option<u64>)> = made
        .iter()
        .map(|file| (file.lfn.as_str(), file.events))
        .collect();
    assert_eq!(names, [("000000:a.root", Some(5)), ("000001:b.root", None)]);
}

#[test]
fn secondaries_get_as_many_files_as_go_with_the_master() {
    let mut task = with_input(json!({"nFiles": 4}), &json!({"ratio": 1.5}));
    task.inputs.insert(0, task.inputs[0].clone());
    task.inputs[0].ratio_millionths = 1_000_000;
    assert_eq!(files_max(&task, &task.inputs[0]), Some(4));
    assert_eq!(files_max(&task, &task.inputs[1]), Some(6));
}

proptest! {
    #[test]
    fn ranges_cover_every_event_once(
        events in 1_u64..500, size in 1_u64..200, count in 1_usize..6,
    ) {
        let task = with_input(json!({"nEventsPerInputFile": events, "nEventsPerJob": size}), &json!({}));
        let names: Vec<String> = (0..count).map(|at| format!("f{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut expected_first = 1;
        let mut next: BTreeMap<String, u64> = BTreeMap::new();
        for (lfn, range, first) in ranges(&task, files(&names)) {
            let (start, end) = range.expect("a range");
            let place = next.entry(lfn).or_default();
            prop_assert_eq!(start, *place);
            prop_assert!(end >= start && end - start < size && end < events);
            prop_assert_eq!(first, Some(expected_first));
            expected_first += end - start + 1;
            *place = end + 1;
        }
        prop_assert_eq!(next.len(), count);
        prop_assert!(next.values().all(|covered| *covered == events));
    }
}

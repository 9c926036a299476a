//! Rules of tasks as text and back.

use proptest::prelude::*;

use super::*;

#[test]
fn every_tag_and_name_belongs_to_one_rule() {
    for rule in Rule::ALL {
        assert_eq!(Rule::from_tag(rule.tag()), Some(*rule));
        assert_eq!(Rule::from_name(rule.name()), Some(*rule));
    }
    assert_eq!(Rule::ALL.len(), 109);
}

#[test]
fn rules_are_read_as_pandas_text_and_written_back() {
    let text = "NF=5,US=2,AN=1,3,TW=-1,DE=rucio,RM=NF:3|NG:4";
    let rules: SplitRules = text.parse().expect("known rules");
    assert_eq!(rules.files_per_job(), Some(5));
    assert_eq!(rules.scouts(), ScoutRule::Wanted);
    assert_eq!(rules.middle_name_fields(), [1, 3]);
    assert_eq!(rules.number(Rule::T1Weight), Some(-1));
    assert_eq!(rules.to_string(), text);
}

#[test]
fn a_rule_that_is_set_again_keeps_its_place() {
    let mut rules: SplitRules = "NF=5,US=2".parse().expect("known rules");
    rules.set(Rule::NFilesPerJob, 7);
    rules.remove(Rule::UseScout);
    rules.set(Rule::NGbPerJob, 2);
    assert_eq!(rules.to_string(), "NF=7,NG=2");
    assert_eq!(rules.bytes_per_job(), Some(2 << 30));
}

#[test]
fn named_text_has_words_for_numbers() {
    let rules: SplitRules = "AE=1,AN=1,2,3,US=3,LS=2".parse().expect("known rules");
    let named = "allowEmptyInput=1,addNthFieldToLFN=1_2_3,useScout=updated_requirements,limitedSites=with_denylist";
    assert_eq!(rules.to_named_text(), named);
}

#[test]
fn pieces_of_events_multiply_files_per_job() {
    let rules: SplitRules = "NF=2,DY=100,EI=1000".parse().expect("known rules");
    assert_eq!(rules.files_per_job(), Some(20));
}

#[test]
fn an_unknown_rule_is_named() {
    let error = "NF=5,QQ=1".parse::<SplitRules>().expect_err("no such rule");
    assert!(
        error.to_string().starts_with("`QQ=1` is no rule of a task"),
        "{error}"
    );
}

#[test]
fn only_pandas_changeable_rules_may_change() {
    assert!(Rule::NGbPerJob.is_changeable());
    assert!(!Rule::MergeOutput.is_changeable());
}

proptest! {
    #[test]
    fn any_text_that_is_read_is_written_back_the_same(text in "([A-Z]{2}=-?[0-9]{1,4},?){0,6}") {
        if let Ok(rules) = text.parse::<SplitRules>() {
            let written = rules.to_string();
            prop_assert_eq!(written.parse::<SplitRules>(), Ok(rules));
        }
    }

    #[test]
    fn reading_any_text_never_panics(text in ".*") {
        let _ = text.parse::<SplitRules>();
    }
}

//! Explanations and global shares as text for people.

use ailurus_wire::rest::{ExplanationView, ShareView};

use crate::table::{Table, on_one_line};

/// One sentence, what would change it, and what was found about each queue.
pub(crate) fn explanation(explanation: &ExplanationView) -> String {
    let mut text = format!("{}.\n", on_one_line(&explanation.sentence));
    for change in &explanation.changes {
        text.push_str(&format!("  {}\n", on_one_line(change)));
    }
    if explanation.queues.is_empty() {
        return text;
    }
    let mut table = Table::new(&["queue", "site", "weight#", "waiting#", "running#", "why"]);
    for queue in &explanation.queues {
        let weight = queue.weight.map(|weight| format!("{weight:.3}"));
        let why = match queue.filter.as_str() {
            "" => queue.reason.clone(),
            filter => format!("{filter}: {}", queue.reason),
        };
        table.row(vec![
            queue.queue.clone(),
            queue.site.clone(),
            weight.unwrap_or_default(),
            queue.waiting.to_string(),
            queue.running.to_string(),
            why,
        ]);
    }
    text.push('\n');
    text.push_str(&table.render());
    text
}

/// The tree of shares, a line each.
pub(crate) fn shares(shares: &[ShareView]) -> String {
    if shares.is_empty() {
        return "no shares: all work is equal, see `[scheduling]` in the server's configuration\n"
            .to_owned();
    }
    let runs: f64 = shares
        .iter()
        .filter(|share| share.depth == 0)
        .map(|share| share.executing_hs06)
        .sum();
    let mut table = Table::new(&[
        "share",
        "pledged %#",
        "used %#",
        "running HS06#",
        "waiting HS06#",
    ]);
    for share in shares {
        let used = if runs > 0.0 {
            format!("{:.1}", 100.0 * share.executing_hs06 / runs)
        } else {
            String::new()
        };
        table.row(vec![
            format!("{}{}", "  ".repeat(share.depth), share.name),
            format!("{:.1}", share.pledged_percent),
            used,
            format!("{:.0}", share.executing_hs06),
            format!("{:.0}", share.queued_hs06),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use ailurus_wire::rest::QueueFindingView;

    use super::*;

    #[test]
    fn an_explanation_is_a_sentence_its_changes_and_a_table() {
        let finding = |queue: &str, weight, filter: &str, reason: &str| QueueFindingView {
            queue: queue.to_owned(),
            site: "JINR".to_owned(),
            weight,
            filter: filter.to_owned(),
            reason: reason.to_owned(),
            waiting: 3,
            running: 40,
        };
        let text = explanation(&ExplanationView {
            sentence: "job 7 waits: no\nmemory".to_owned(),
            would_run: String::new(),
            changes: vec!["it could run with memory ≤ 8 GiB: `A`".to_owned()],
            queues: vec![
                finding("B", Some(0.5), "", "fits"),
                finding("A", None, "memory", "is small"),
            ],
        });
        assert_eq!(
            text,
            "job 7 waits: no memory.\n  it could run with memory ≤ 8 GiB: `A`\n\n\
             queue  site  weight  waiting  running  why\n\
             B      JINR   0.500        3       40  fits\n\
             A      JINR                3       40  memory: is small\n"
        );
    }

    #[test]
    fn shares_are_shown_as_a_tree() {
        let share = |name: &str, depth, part, runs| ShareView {
            name: name.to_owned(),
            depth,
            is_leaf: depth == 1,
            pledged_percent: part,
            executing_hs06: runs,
            queued_hs06: 0.0,
        };
        let text = shares(&[share("All", 0, 100.0, 80.0), share("Reco", 1, 25.0, 20.0)]);
        assert!(text.contains("  Reco       25.0    25.0"), "{text}");
    }
}

//! Single Mixture Boost: a sample that many jobs read is moved once, and one mixture is done before
//! the next begins.

use std::collections::BTreeSet;

use ailurus_brokerage::Policy;
use ailurus_model::{TaskSpec, task::Submission};

use super::harness::{FAR, FILE_BY_FILE, NEAR, Server, generation, input, listed, output, reading};

/// Jobs that a queue runs at a time.
const SLOTS: usize = 2;
const FILES: u32 = 6;

/// A production of four tasks, of which each second one reads the same sample.
fn production() -> Submission {
    let task = |nr: usize| -> TaskSpec {
        let own = format!("own{nr}");
        let sample = if nr.is_multiple_of(2) {
            "minbias"
        } else {
            "pileup"
        };
        let mut spec = reading(&own, &format!("sim{nr}"), FILE_BY_FILE);
        spec.parameters = format!("-i {{input.{own}}} -m {{input.{sample}}} -o {{output.sim{nr}}}");
        spec.inputs.push(input(sample));
        spec.outputs = vec![output(
            &format!("sim{nr}"),
            &format!("sim{nr}_{{part}}_{{attempt}}"),
        )];
        spec.priority = generation(1).priority;
        spec
    };
    let owns = (0..4).map(|nr| listed(&format!("own{nr}"), "ELSEWHERE_DISK", FILES));
    let samples = ["minbias", "pileup"].map(|name| listed(name, "ELSEWHERE_DISK", 1));
    Submission {
        datasets: owns.chain(samples).collect(),
        tasks: (0..4).map(task).collect(),
    }
}

/// Runs the production to its end. Returns the samples of the jobs in the order in which each
/// queue began them.
fn run(server: &mut Server, queues: &[&str]) -> Vec<Vec<String>> {
    server.try_submit(&production()).unwrap();
    let mut begun = vec![Vec::new(); queues.len()];
    let mut running = vec![Vec::new(); queues.len()];
    loop {
        for (nr, queue) in queues.iter().enumerate() {
            while running[nr].len() < SLOTS {
                let Some(job) = server.acquire(queue).pop() else {
                    break;
                };
                let sample = job.inputs.last().expect("a sample").dataset.to_string();
                begun[nr].push(sample);
                running[nr].push(job);
            }
        }
        if running.iter().all(Vec::is_empty) {
            return begun;
        }
        for jobs in &mut running {
            if !jobs.is_empty() {
                server.finish(&jobs.remove(0));
            }
        }
    }
}

/// How often a sample was moved to a queue.
fn transfers(begun: &[Vec<String>]) -> usize {
    let samples = |of_queue: &Vec<String>| of_queue.iter().collect::<BTreeSet<_>>().len();
    begun.iter().map(samples).sum()
}

#[test]
fn a_sample_is_moved_once_instead_of_to_every_queue() {
    let mut server = Server::new();
    let boosted = run(&mut server, &[NEAR, FAR]);
    let mut server = Server::new();
    let text = include_str!("../../../../profiles/brokerage.toml");
    server.scheduling.policy =
        Policy::parse(&text.replace("\"mixture\", worth = 50.0", "\"mixture\", worth = 0.0"))
            .unwrap();
    let plain = run(&mut server, &[NEAR, FAR]);
    assert_eq!((transfers(&boosted), transfers(&plain)), (2, 4));
    let jobs = |begun: &[Vec<String>]| begun.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(jobs(&boosted), [12, 12], "both queues work all the same");
}

#[test]
fn one_mixture_is_done_before_the_next_begins() {
    let mut server = Server::new();
    server.queues.remove(&FAR.into());
    let begun = run(&mut server, &[NEAR]).remove(0);
    let changes = begun.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!((begun.len(), changes), (24, 1), "{begun:?}");
}

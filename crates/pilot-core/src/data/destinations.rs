//! Where an output goes: the storage that is meant, the alternative, and the ways to both.
//!
//! | the job names | primary | alternative |
//! |---|---|---|
//! | nothing | the queue's first storage | the next one |
//! | one of the queue's storages | that one | the next one, in a circle |
//! | another storage | the queue's first | the one that the job names |
//!
//! The nucleus of the task is never the alternative: it gets the file anyway. The alternative is
//! used only if queue or job allow it.
//!
//! Source: Pilot 3, `pilot/api/data.py`, `prepare_destinations`, `require_protocols`;
//! `pilot/info/jobdata.py`, `allow_altstageout`.

use ailurus_model::{
    AlternativeStageOut, EndpointName, ErrorCode, Job, OutputFile, Queue, StorageEndpoint,
};

use super::{
    Direction, Domain, LeftOutReason, Rank, Try,
    copy_tools::{Purpose, ToolName, Tools, schemes_of},
    direct_access::is_analysis,
    place::{Naming, PathRule, code_of, protocols_of},
    replicas::Ways,
    stage_in::Known,
};
use crate::{Problem, input::Site};

/// The kind of a queue that serves production and analysis alike.
const UNIFIED: &str = "unified";
/// Ways to one output that are tried.
const TRIES_MAX: usize = 16;

/// Returns the storages from which a job reads over the local network, best first.
pub(super) fn near_storages<'a>(queue: &'a Queue, job: &Job) -> Vec<&'a EndpointName> {
    let activities = ["read_lan_analysis", "read_lan", "pr", "r", "default"];
    storages_of(queue, job, &activities).iter().collect()
}

/// Returns the storages to which a job writes, best first.
fn write_storages<'a>(queue: &'a Queue, job: &Job, purpose: Purpose) -> &'a [EndpointName] {
    let activities = ["write_lan_analysis", "write_lan", "w", "pw", "default"];
    let of_log = match purpose {
        Purpose::Log => Queue::first_of(&queue.storages, &["pl"]),
        Purpose::StageIn | Purpose::StageOut => &[],
    };
    if of_log.is_empty() {
        storages_of(queue, job, &activities)
    } else {
        of_log
    }
}

/// The first of the activities is that of analysis jobs on unified queues only.
fn storages_of<'a>(queue: &'a Queue, job: &Job, activities: &[&str]) -> &'a [EndpointName] {
    let from = usize::from(queue.kind != UNIFIED || !is_analysis(job));
    Queue::first_of(&queue.storages, &activities[from..])
}

/// Returns all storages that the outputs of a job may go to.
pub(crate) fn storages_of_outputs<'a>(job: &'a Job, queue: &'a Queue) -> Vec<&'a EndpointName> {
    let files = job.outputs.iter().chain(&job.log);
    let named = files.map(|output| &output.endpoint);
    let of_queue = [Purpose::StageOut, Purpose::Log];
    let of_queue = of_queue
        .into_iter()
        .flat_map(|purpose| write_storages(queue, job, purpose));
    named.chain(of_queue).collect()
}

/// Says whether outputs may go to the alternative storage: the queue's word counts before the job's.
#[must_use]
pub fn allows_alternative(job: &Job, queue: &Queue) -> bool {
    let by_job = job.options.alternative_stage_out == AlternativeStageOut::On;
    queue.options.allows_alternative_stage_out.unwrap_or(by_job)
}

/// The storages of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) primary: Option<EndpointName>,
    pub(super) alternative: Option<EndpointName>,
}

/// Chooses the storages of an output by the table above. A queue without storages leaves the choice
/// to the job.
pub(super) fn choose_storages(
    job: &Job,
    queue: &Queue,
    output: &OutputFile,
    purpose: Purpose,
) -> Destination {
    let storages = write_storages(queue, job, purpose);
    let named = Some(&output.endpoint).filter(|it| !it.is_empty());
    let is_nucleus = |it: &EndpointName| it.as_str() == job.options.nucleus;
    let Some(first) = storages.first() else {
        return Destination {
            primary: named.cloned(),
            alternative: None,
        };
    };
    let next_to = |primary: &EndpointName| {
        let at = storages.iter().position(|it| it == primary).unwrap_or(0);
        let mut circle = storages[at..].iter().chain(&storages[..at]).skip(1);
        circle.find(|it| *it != primary && !is_nucleus(it))
    };
    let (primary, alternative) = match named {
        None => (first, next_to(first)),
        Some(named) if storages.contains(named) => (named, next_to(named)),
        Some(named) => (first, Some(named).filter(|it| !is_nucleus(it))),
    };
    Destination {
        primary: Some(primary.clone()),
        alternative: alternative.cloned(),
    }
}

/// Plans the ways of outputs to their storages.
pub(super) struct Destinations<'a> {
    pub(super) job: &'a Job,
    pub(super) site: &'a Site,
    pub(super) path_rule: PathRule,
    pub(super) tools: &'a Tools,
    pub(super) purpose: Purpose,
    pub(super) known: &'a Known<'a>,
}

impl Destinations<'_> {
    /// Returns the ways to store an output, best first, at least one.
    ///
    /// # Errors
    ///
    /// 1133 where no storage is named or described, 1313 where it has no protocol for the copy tools,
    /// 1329 where its paths do not follow from names.
    pub(super) fn plan(&self, output: &OutputFile) -> Result<Ways, Problem> {
        let Site { queue, .. } = self.site;
        let to = choose_storages(self.job, queue, output, self.purpose);
        let Some(primary) = &to.primary else {
            let detail = format!("`{}`: neither job nor queue name one", output.lfn);
            return Err(Problem::new(ErrorCode::NoStorage, detail));
        };
        let mut ways = Ways::default();
        let mut first_problem = None;
        let alternative = to.alternative.as_ref();
        let alternative = alternative.filter(|_| allows_alternative(self.job, queue));
        let places = [
            (Some(primary), Rank::Primary),
            (alternative, Rank::Alternative),
        ];
        for (endpoint, rank) in places {
            let Some(endpoint) = endpoint else { continue };
            match self.ways_to(endpoint, output, rank) {
                Ok(tries) => ways.tries.extend(tries),
                Err(reason) => {
                    let place = format!("`{}` cannot go to `{endpoint}`: {reason}", output.lfn);
                    first_problem.get_or_insert(Problem::new(code_for_output(&reason), place));
                    ways.leave_out(endpoint, "", reason);
                }
            }
        }
        match first_problem {
            Some(problem) if ways.tries.is_empty() => Err(problem),
            Some(_) | None => Ok(ways),
        }
    }

    /// Returns the ways to one endpoint: each tool with each protocol that it takes.
    fn ways_to(
        &self,
        endpoint: &EndpointName,
        output: &OutputFile,
        rank: Rank,
    ) -> Result<Vec<Try>, LeftOutReason> {
        let Site { queue, storages } = self.site;
        let storage = storages.get(endpoint).ok_or(LeftOutReason::Unknown)?;
        let domain = if write_storages(queue, self.job, self.purpose).contains(endpoint) {
            Domain::Lan
        } else {
            Domain::Wan
        };
        let naming = Naming {
            scope: &output.scope,
            lfn: &output.lfn,
            dataset: &output.dataset,
            panda_id: self.job.panda_id,
            queue: &queue.name,
            path_rule: self.path_rule,
        };
        let protocols = protocols_of(storage, Direction::Write, domain);
        if protocols.is_empty() {
            return Err(LeftOutReason::NoProtocol);
        }
        let mut ways = Vec::new();
        for tool in &self.tools.tools {
            let Ok(path) = naming.path(storage, *tool) else {
                continue;
            };
            for (scheme_index, protocol, mover) in self.taken(*tool, &protocols) {
                let way = Try {
                    tool: mover,
                    endpoint: endpoint.clone(),
                    domain,
                    rank,
                    ..Try::in_directory(protocol.url(&path))
                };
                let way = way
                    .with_token_of(Some(storage))
                    .with_speed_of(self.known.record);
                let is_failing = self.known.record.is_failing(self.known.now, &way);
                ways.push(((is_failing, ways.len()), scheme_index, way));
            }
        }
        if ways.is_empty() {
            return Err(self.why_none(storage, naming));
        }
        ways.sort_by_key(|(order, _, _)| *order);
        let mut tries: Vec<Try> = Vec::new();
        for (_, _, way) in ways {
            if !tries
                .iter()
                .any(|it| it.url == way.url && it.tool == way.tool)
            {
                tries.push(way);
            }
        }
        tries.truncate(TRIES_MAX);
        Ok(tries)
    }

    /// Returns the protocols that a tool takes, in the order of its schemes, with what moves them.
    fn taken<'p>(
        &self,
        tool: ToolName,
        protocols: &[&'p ailurus_model::StorageProtocol],
    ) -> Vec<(usize, &'p ailurus_model::StorageProtocol, ToolName)> {
        let schemes = schemes_of(&self.site.queue, self.purpose, tool);
        let mut taken = Vec::new();
        for protocol in protocols {
            let scheme = protocol.scheme();
            let place = schemes.iter().position(|it| *it == scheme);
            let place = if schemes.is_empty() { Some(0) } else { place };
            if let (Some(place), Some(mover)) = (place, tool.mover(scheme)) {
                taken.push((place, *protocol, mover));
            }
        }
        taken.sort_by_key(|(place, _, _)| *place);
        taken
    }

    fn why_none(&self, storage: &StorageEndpoint, naming: Naming<'_>) -> LeftOutReason {
        let mut tools = self.tools.tools.iter();
        match tools.find_map(|tool| naming.path(storage, *tool).err()) {
            Some(reason) => reason,
            None => {
                let protocols = protocols_of(storage, Direction::Write, Domain::Lan);
                let schemes = protocols.iter().map(|it| it.scheme());
                let scheme = schemes.collect::<Vec<_>>().join("`, `");
                LeftOutReason::NoTool { scheme }
            }
        }
    }
}

/// Returns the code of an output whose storage cannot be used for this reason.
const fn code_for_output(reason: &LeftOutReason) -> ErrorCode {
    match reason {
        LeftOutReason::NoTool { .. } => ErrorCode::NoStorageProtocol,
        LeftOutReason::Tape
        | LeftOutReason::NoLan
        | LeftOutReason::NoWan
        | LeftOutReason::Unknown
        | LeftOutReason::NotDeterministic
        | LeftOutReason::NoProtocol
        | LeftOutReason::Enough => code_of(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ailurus_model::{StorageProtocol, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        control::testing::{job, output_file, site},
        data::{StorageRecord, copy_tools::choose_tools},
    };

    fn names(names: &[&str]) -> Vec<EndpointName> {
        names.iter().map(|it| EndpointName::new(*it)).collect()
    }

    fn chosen(storages: &[&str], named: &str, nucleus: &str) -> [String; 2] {
        let mut queue = site().queue;
        queue.storages = BTreeMap::from([("write_lan".to_owned(), names(storages))]);
        let mut job = job(1);
        job.options.nucleus = nucleus.into();
        let mut output = output_file("o");
        output.endpoint = EndpointName::new(named);
        let to = choose_storages(&job, &queue, &output, Purpose::StageOut);
        [to.primary, to.alternative].map(|it| it.unwrap_or_default().to_string())
    }

    #[test]
    fn primary_and_alternative_follow_from_job_and_queue() {
        assert_eq!(chosen(&["A", "B", "C"], "", ""), ["A", "B"]);
        assert_eq!(chosen(&["A", "B", "C"], "C", ""), ["C", "A"]);
        assert_eq!(chosen(&["A", "B", "C"], "C", "A"), ["C", "B"]);
        assert_eq!(chosen(&["A", "B"], "X", ""), ["A", "X"]);
        assert_eq!(chosen(&["A", "B"], "X", "X"), ["A", ""]);
        assert_eq!(chosen(&["A"], "A", ""), ["A", ""]);
        assert_eq!(chosen(&[], "X", ""), ["X", ""]);
    }

    #[test]
    fn an_analysis_job_on_a_unified_queue_has_storages_of_its_own() {
        let mut queue = site().queue;
        queue.storages = BTreeMap::from([
            ("write_lan".to_owned(), names(&["A"])),
            ("write_lan_analysis".to_owned(), names(&["B"])),
            ("pl".to_owned(), names(&["L"])),
        ]);
        let mut job = job(1);
        let first = |job: &Job, queue: &Queue, purpose| {
            let storages = write_storages(queue, job, purpose);
            storages[0].to_string()
        };
        assert_eq!(first(&job, &queue, Purpose::StageOut), "B");
        assert_eq!(first(&job, &queue, Purpose::Log), "L");
        job.transformation = "Reco_tf.py".into();
        assert_eq!(first(&job, &queue, Purpose::StageOut), "A");
        queue.kind = "production".into();
        job.transformation = "http://x/run.sh".into();
        assert_eq!(first(&job, &queue, Purpose::StageOut), "A");
    }

    #[test]
    fn the_queue_says_before_the_job_whether_there_is_an_alternative() {
        let (mut job, mut queue) = (job(1), site().queue);
        assert!(!allows_alternative(&job, &queue));
        job.options.alternative_stage_out = AlternativeStageOut::On;
        assert!(allows_alternative(&job, &queue));
        queue.options.allows_alternative_stage_out = Some(false);
        assert!(!allows_alternative(&job, &queue));
    }

    fn plan(site: &Site, change: fn(&mut Job)) -> Result<Ways, Problem> {
        let mut job = job(1);
        change(&mut job);
        let defaults = ["rucio".to_owned()];
        let tools = choose_tools(&site.queue, Purpose::StageOut, &defaults).expect("tools");
        let known = Known {
            catalogue: None,
            record: &StorageRecord::default(),
            now: Timestamp::from_millis(0),
        };
        let plan = Destinations {
            job: &job,
            site,
            path_rule: PathRule::Pilot,
            tools: &tools,
            purpose: Purpose::StageOut,
            known: &known,
        };
        plan.plan(&output_file("o"))
    }

    fn storage(name: &str, endpoints: &[&str]) -> (EndpointName, StorageEndpoint) {
        let protocol = |endpoint: &&str| StorageProtocol {
            endpoint: (*endpoint).into(),
            path: "/p".into(),
            id: None,
        };
        let protocols = endpoints.iter().map(protocol).collect();
        let storage = StorageEndpoint {
            name: EndpointName::new(name),
            protocols: BTreeMap::from([("write_lan".to_owned(), protocols)]),
            ..site().storages[&EndpointName::new("EP")].clone()
        };
        (EndpointName::new(name), storage)
    }

    /// A queue that writes to `EP` and then `ALT`.
    fn two_storages() -> Site {
        let mut site = site();
        site.queue
            .storages
            .insert("write_lan".into(), names(&["EP", "ALT"]));
        site.storages = [
            storage("EP", &["davs://ep/", "root://ep/"]),
            storage("ALT", &["root://alt/"]),
        ]
        .into();
        site
    }

    #[test]
    fn tools_come_in_order_with_their_schemes_and_the_alternative_comes_last() {
        let mut site = two_storages();
        let tools = ["xrdcp", "gfal"].map(str::to_owned).to_vec();
        site.queue.copy_tools = BTreeMap::from([("pw".to_owned(), tools)]);
        site.queue.options.allows_alternative_stage_out = Some(true);
        let ways = plan(&site, |_| {}).expect("ways");
        let seen: Vec<_> = ways
            .tries
            .iter()
            .map(|it| (it.tool.as_str(), it.host(), it.scheme(), it.rank))
            .collect();
        let expected = [
            ("xrdcp", "ep", "root", Rank::Primary),
            ("gfal", "ep", "davs", Rank::Primary),
            ("gfal", "ep", "root", Rank::Primary),
            ("xrdcp", "alt", "root", Rank::Alternative),
            ("gfal", "alt", "root", Rank::Alternative),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn only_lsm_is_told_the_space_token() {
        let mut site = two_storages();
        let storage = site.storages.get_mut(&EndpointName::new("EP"));
        storage.expect("there").options.token = "SPDDATADISK".into();
        let tools = ["lsm", "xrdcp"].map(str::to_owned).to_vec();
        site.queue.copy_tools = BTreeMap::from([("pw".to_owned(), tools)]);
        let ways = plan(&site, |_| {}).expect("ways");
        let seen: Vec<_> = ways
            .tries
            .iter()
            .map(|it| (it.tool.as_str(), it.space_token.as_deref()))
            .collect();
        assert_eq!(seen, [("lsm", Some("SPDDATADISK")), ("xrdcp", None)]);
    }

    #[test]
    fn what_a_storage_lacks_is_told_by_code_and_the_alternative_helps() {
        let code = |change: fn(&mut StorageEndpoint)| {
            let mut site = two_storages();
            let storage = site.storages.get_mut(&EndpointName::new("EP"));
            change(storage.expect("there"));
            let ways = plan(&site, |_| {});
            site.queue.options.allows_alternative_stage_out = Some(true);
            assert!(plan(&site, |_| {}).is_ok(), "the alternative");
            ways.err().map(|problem| problem.code)
        };
        assert_eq!(code(|_| {}), None);
        assert_eq!(
            code(|it| it.protocols.clear()),
            Some(ErrorCode::NoStorageProtocol)
        );
        let non_deterministic = code(|it| it.is_deterministic = false);
        assert_eq!(non_deterministic, Some(ErrorCode::NonDeterministicDdm));
        let odd = code(|it| {
            let protocols = it.protocols.values_mut().flatten();
            protocols.for_each(|protocol| protocol.endpoint = "dcap://h/".into());
        });
        assert_eq!(odd, Some(ErrorCode::NoStorageProtocol));
        let mut site = two_storages();
        site.storages.clear();
        let problem = plan(&site, |_| {}).expect_err("none");
        assert_eq!(problem.code, ErrorCode::NoStorage);
    }

    proptest! {
        #[test]
        fn the_alternative_is_neither_the_primary_nor_the_nucleus(
            storages in prop::collection::vec("[A-D]", 0..5), named in "[A-F]?", nucleus in "[A-F]?",
        ) {
            let storages: Vec<&str> = storages.iter().map(String::as_str).collect();
            let [primary, alternative] = chosen(&storages, &named, &nucleus);
            if !alternative.is_empty() {
                prop_assert_ne!(&primary, &alternative);
                prop_assert_ne!(&alternative, &nucleus);
            }
            if let Some(first) = storages.first() {
                prop_assert!(primary == named && storages.contains(&named.as_str()) || primary == *first);
            }
        }
    }
}

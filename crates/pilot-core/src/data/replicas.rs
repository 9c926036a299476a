//! Replicas: which one is tried when.
//!
//! Order, the first that differs decides: storages that fail now come last; where no catalogue was
//! asked, the storage that the job names before others, where a file only may be; LAN before WAN; those
//! much slower than the fastest come later; the queue's copy tools in their order; the queue's own
//! site; the queue's storages in their order; the catalogue's priority; the tool's schemes in their
//! order; at last the names, so that the same facts always give the same order.
//!
//! Source: Pilot 3, `pilot/api/data.py`, `add_replicas`, `sort_replicas`, `resolve_replica`.

use ailurus_model::{
    EndpointName, ErrorCode, InputFile, Job, Lfn, PandaId, Queue, StorageProtocol,
};

use super::{
    Direction, Domain, Known, LeftOut, LeftOutReason, Try,
    catalogue::{CatalogueFile, Medium},
    copy_tools::{Purpose, ToolName, Tools, scheme_of, schemes_of},
    destinations::near_storages,
    place::{Naming, PathRule, code_of, protocols_of},
    tries::place_of,
};
use crate::{PilotConfig, Problem, input::Site};

/// Ways to one file that are tried; more would only make a dead file take longer.
const TRIES_MAX: usize = 16;
/// Replicas of one file that are looked at.
const CANDIDATES_MAX: usize = 256;
/// Replicas whose reason for being left out is kept.
const LEFT_OUT_MAX: usize = 32;
/// A storage is slow that has less than this part of the fastest one's speed.
const SLOW_PART: u64 = 4;
/// The switch in `catchall` that lets libraries come from far away.
const WAN_FOR_LIBRARIES: &str = "allow_wan_for_lib";
/// How a library is known by its name.
const LIBRARY_MARK: &str = ".lib.";
/// Schemes that may be used from far away: Pilot 3's, and WebDAV beside HTTPS.
const WAN_SCHEMES: [&str; 11] = [
    "root", "roots", "xroot", "xroots", "gsiftp", "dcap", "srm", "storm", "https", "davs", "s3",
];

/// The ways to a file, in order, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ways {
    /// The ways, best first.
    pub tries: Vec<Try>,
    /// What is not tried, and why.
    pub left_out: Vec<LeftOut>,
}

/// All that the choice of replicas depends on, but for the file.
pub(super) struct Chooser<'a> {
    site: &'a Site,
    path_rule: PathRule,
    /// Each tool with the schemes that it may use, both best first.
    tools: Vec<(ToolName, Vec<&'a str>)>,
    /// The endpoints that count as near, best first (`inputddms`).
    near: Vec<&'a EndpointName>,
    known: Known<'a>,
}

/// A replica before it is known whether a tool takes it.
pub(super) struct Candidate {
    pub(super) endpoint: EndpointName,
    pub(super) url: String,
    pub(super) domain: Domain,
    priority: u32,
    /// Whether the job names another endpoint, so that the file is only perhaps here.
    is_guess: bool,
    /// The tools whose place this is; none for all, as the catalogue knows it.
    tools: Option<Vec<ToolName>>,
}

impl Candidate {
    fn is_for(&self, tool: ToolName) -> bool {
        self.tools
            .as_ref()
            .is_none_or(|tools| tools.contains(&tool))
    }
}

/// By what tries are ordered, the first part first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    is_failing: bool,
    is_guess: bool,
    domain: Domain,
    is_slow: bool,
    tool: usize,
    is_elsewhere: bool,
    near: usize,
    priority: u32,
    scheme: usize,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(
        job: &Job,
        site: &'a Site,
        config: &PilotConfig,
        tools: &Tools,
        known: &Known<'a>,
    ) -> Self {
        let queue = &site.queue;
        let schemes = |tool: &ToolName| {
            let schemes = if job.options.is_virtual_placement {
                vec!["root"]
            } else {
                schemes_of(queue, Purpose::StageIn, *tool)
            };
            (*tool, schemes)
        };
        Self {
            site,
            path_rule: PathRule::of(config.data.catalogue),
            tools: tools.tools.iter().map(schemes).collect(),
            near: near_storages(queue, job),
            known: *known,
        }
    }

    /// Returns how far away an endpoint is. Where the queue names none, the job's own is near.
    fn domain_of(&self, endpoint: &EndpointName, input: &InputFile) -> Domain {
        let is_near = if self.near.is_empty() {
            *endpoint == input.endpoint
        } else {
            self.near.contains(&endpoint)
        };
        if is_near { Domain::Lan } else { Domain::Wan }
    }

    /// Lists the replicas of a file: those that the catalogue has, else those that follow from the
    /// names of storages; without those that the queue does not allow.
    pub(super) fn candidates(
        &self,
        panda_id: PandaId,
        input: &InputFile,
        found: Option<&CatalogueFile>,
    ) -> (Vec<Candidate>, Ways) {
        let mut ways = Ways::default();
        let listed = match found {
            Some(found) => self.catalogued(input, found, &mut ways),
            None => self.named(panda_id, input, &mut ways),
        };
        let mut candidates = Vec::new();
        for candidate in listed {
            match self.check_domain(&candidate, input) {
                Ok(()) => candidates.push(candidate),
                Err(reason) => ways.leave_out(&candidate.endpoint, &candidate.url, reason),
            }
        }
        candidates.sort_by_key(|it| (it.is_guess, it.domain, self.near_index(it), it.priority));
        for it in candidates.drain(candidates.len().min(CANDIDATES_MAX)..) {
            ways.leave_out(&it.endpoint, &it.url, LeftOutReason::Enough);
        }
        (candidates, ways)
    }

    fn catalogued(
        &self,
        input: &InputFile,
        found: &CatalogueFile,
        ways: &mut Ways,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for replica in &found.replicas {
            let is_tape = self.is_tape(&replica.endpoint) || replica.medium == Medium::Tape;
            if is_tape {
                ways.leave_out(&replica.endpoint, &replica.url, LeftOutReason::Tape);
                continue;
            }
            candidates.push(Candidate {
                endpoint: replica.endpoint.clone(),
                url: replica.url.clone(),
                domain: self.domain_of(&replica.endpoint, input),
                priority: replica.priority,
                is_guess: false,
                tools: None,
            });
        }
        candidates
    }

    /// Makes places out of the names of storages: the one that the job names, then the queue's.
    fn named(&self, panda_id: PandaId, input: &InputFile, ways: &mut Ways) -> Vec<Candidate> {
        let mut endpoints: Vec<&EndpointName> = Vec::new();
        if !input.endpoint.is_empty() {
            endpoints.push(&input.endpoint);
        }
        for endpoint in &self.near {
            if !endpoints.contains(endpoint) {
                endpoints.push(endpoint);
            }
        }
        let naming = Naming {
            scope: &input.scope,
            lfn: &input.lfn,
            dataset: &input.dataset,
            panda_id,
            queue: &self.site.queue.name,
            path_rule: self.path_rule,
        };
        let mut candidates = Vec::new();
        for (endpoint, priority) in endpoints.into_iter().zip(0..) {
            match self.places(endpoint, input, naming) {
                Ok(places) => {
                    let with_priority = |it| Candidate { priority, ..it };
                    candidates.extend(places.into_iter().map(with_priority));
                }
                Err(reason) => ways.leave_out(endpoint, "", reason),
            }
        }
        candidates
    }

    /// Makes the places of a file on one endpoint, for each tool and protocol.
    fn places(
        &self,
        endpoint: &EndpointName,
        input: &InputFile,
        naming: Naming<'_>,
    ) -> Result<Vec<Candidate>, LeftOutReason> {
        let storage = self
            .site
            .storages
            .get(endpoint)
            .ok_or(LeftOutReason::Unknown)?;
        if self.is_tape(endpoint) {
            return Err(LeftOutReason::Tape);
        }
        let by_queue = self.domain_of(endpoint, input);
        let protocols = protocols_of(storage, Direction::Read, by_queue);
        if protocols.is_empty() {
            return Err(LeftOutReason::NoProtocol);
        }
        let tools = self.tools.iter().map(|(tool, _)| *tool);
        let place =
            |protocol: &StorageProtocol, (path, tools): &(String, Vec<ToolName>)| Candidate {
                endpoint: endpoint.clone(),
                url: protocol.url(path),
                // What the node mounts is near, whatever the queue says.
                domain: match protocol.scheme() {
                    "file" => Domain::Lan,
                    _ => by_queue,
                },
                priority: 0,
                is_guess: !input.endpoint.is_empty() && *endpoint != input.endpoint,
                tools: Some(tools.clone()),
            };
        let paths = naming.paths(storage, tools)?;
        let of_path = |path| protocols.iter().map(move |protocol| place(protocol, path));
        Ok(paths.iter().flat_map(of_path).collect())
    }

    fn is_tape(&self, endpoint: &EndpointName) -> bool {
        let storage = self.site.storages.get(endpoint);
        storage.is_some_and(|storage| storage.options.is_tape)
    }

    /// Orders what the queue's tools take.
    pub(super) fn choose(&self, candidates: &[Candidate], mut ways: Ways) -> Ways {
        let mut tries: Vec<(Order, Try)> = Vec::new();
        for candidate in candidates {
            let with_it = self.tries_of(candidate);
            if with_it.is_empty() {
                let scheme = scheme_of(&candidate.url).to_owned();
                let reason = LeftOutReason::NoTool { scheme };
                ways.leave_out(&candidate.endpoint, &candidate.url, reason);
            }
            for it in with_it {
                if !tries.iter().any(|(_, other)| is_same_way(other, &it.1)) {
                    tries.push(it);
                }
            }
        }
        self.mark_slow(&mut tries);
        tries.sort_by(|(a, one), (b, other)| {
            let names = |it: &Try| (it.endpoint.clone(), it.url.clone());
            a.cmp(b).then_with(|| names(one).cmp(&names(other)))
        });
        let too_many = tries.split_off(tries.len().min(TRIES_MAX));
        for (_, it) in too_many {
            ways.leave_out(&it.endpoint, &it.url, LeftOutReason::Enough);
        }
        ways.tries = tries.into_iter().map(|(_, it)| it).collect();
        ways
    }

    fn check_domain(&self, candidate: &Candidate, input: &InputFile) -> Result<(), LeftOutReason> {
        let options = &self.site.queue.options;
        match candidate.domain {
            Domain::Lan if options.allows_lan => Ok(()),
            Domain::Lan => Err(LeftOutReason::NoLan),
            Domain::Wan if allows_wan(&self.site.queue, &input.lfn) => Ok(()),
            Domain::Wan => Err(LeftOutReason::NoWan),
        }
    }

    /// Returns the tries with one replica: for each tool that takes its scheme.
    fn tries_of(&self, candidate: &Candidate) -> Vec<(Order, Try)> {
        let scheme = scheme_of(&candidate.url);
        let is_too_far = candidate.domain == Domain::Wan && !WAN_SCHEMES.contains(&scheme);
        if is_too_far {
            return Vec::new();
        }
        let tools = self.tools.iter().enumerate();
        let tools = tools.filter(|(_, (tool, _))| candidate.is_for(*tool));
        let tries = tools.filter_map(|(index, (tool, schemes))| {
            let mover = tool.mover(scheme)?;
            let scheme_index = if schemes.is_empty() {
                0
            } else {
                schemes.iter().position(|it| *it == scheme)?
            };
            let way = Try {
                tool: mover,
                endpoint: candidate.endpoint.clone(),
                domain: candidate.domain,
                ..Try::in_directory(candidate.url.clone())
            };
            let way = way
                .with_token_of(self.site.storages.get(&candidate.endpoint))
                .with_speed_of(self.known.record);
            Some((self.order(candidate, &way, (index, scheme_index)), way))
        });
        tries.collect()
    }

    fn order(&self, candidate: &Candidate, way: &Try, (tool, scheme): (usize, usize)) -> Order {
        let storage = self.site.storages.get(&candidate.endpoint);
        let is_here =
            storage.is_some_and(|it| it.site == self.site.queue.site && !it.site.is_empty());
        let is_named = candidate.tools.is_some();
        Order {
            is_failing: self.known.record.is_failing(self.known.now, way),
            is_guess: candidate.is_guess,
            domain: candidate.domain,
            is_slow: false,
            tool,
            is_elsewhere: !is_named && !is_here,
            near: self.near_index(candidate),
            priority: candidate.priority,
            scheme,
        }
    }

    /// Where an endpoint stands among the queue's. Places made from names are ordered already, with
    /// the job's own endpoint first.
    fn near_index(&self, candidate: &Candidate) -> usize {
        if candidate.tools.is_some() {
            return 0;
        }
        let mut near = self.near.iter();
        let near = near.position(|it| **it == candidate.endpoint);
        near.unwrap_or(self.near.len())
    }

    fn mark_slow(&self, tries: &mut [(Order, Try)]) {
        let speeds: Vec<Option<u64>> = tries
            .iter()
            .map(|(_, it)| self.known.record.speed(it))
            .collect();
        let fastest = speeds.iter().flatten().max().copied().unwrap_or(0);
        for ((order, _), speed) in tries.iter_mut().zip(speeds) {
            order.is_slow = speed.is_some_and(|speed| speed < fastest / SLOW_PART);
        }
    }
}

fn is_same_way(one: &Try, other: &Try) -> bool {
    one.tool == other.tool && one.url == other.url
}

/// Says whether a file may come from far away.
fn allows_wan(queue: &Queue, lfn: &Lfn) -> bool {
    let is_library = lfn.as_str().contains(LIBRARY_MARK);
    queue.options.allows_wan || (is_library && queue.catchall.contains(WAN_FOR_LIBRARIES))
}

impl Ways {
    pub(super) fn leave_out(&mut self, endpoint: &EndpointName, url: &str, reason: LeftOutReason) {
        if self.left_out.len() < LEFT_OUT_MAX {
            self.left_out.push(LeftOut {
                endpoint: endpoint.clone(),
                place: place_of(url),
                reason,
            });
        }
    }

    /// Returns what is said of an input without any way: each reason once.
    pub(super) fn nothing(&self, lfn: &Lfn, source: Source) -> Problem {
        let first = self.left_out.first();
        let code = match (source, first) {
            (Source::Catalogue, _) | (Source::Names, None) => ErrorCode::NoReplicas,
            (Source::Names, Some(it)) => code_of(&it.reason),
        };
        let reasons: Vec<String> = self.left_out.iter().map(ToString::to_string).collect();
        let why = match (source, reasons.is_empty()) {
            (_, false) => reasons.join("; "),
            (Source::Catalogue, true) => "the catalogue has none".to_owned(),
            (Source::Names, true) => "neither job nor queue name a storage".to_owned(),
        };
        Problem::new(code, format!("`{lfn}` has no usable replica: {why}"))
    }
}

/// Where replicas come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The catalogue has been asked.
    Catalogue,
    /// They follow from the names of storages.
    Names,
}

#[cfg(test)]
mod tests;

//! How inputs and outputs are moved, as options say it.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use ailurus_experiment::{FlowActivity, FlowMarkerProfile};
use ailurus_http::ClientConfig;
use ailurus_pilot_core::PilotConfig;
use ailurus_transfer::{
    cache::{CacheConfig, Link},
    flow_marker::{FlowId, FlowIds, FlowMarker, FlowMarkerConfig, Receiver},
    http::HttpOptions,
};

use super::VERSION;
use crate::{
    args::{Args, CacheLink},
    environment::Environment,
};

/// Names the file with the token for storages, as WLCG's tools read it.
const TOKEN_FILE: &str = "BEARER_TOKEN_FILE";

/// How inputs and outputs are moved.
#[derive(Debug, Clone)]
pub(crate) struct DataSettings {
    /// Most transfers of a job at a time.
    pub(crate) parallel: NonZeroUsize,
    /// The cache that is shared with other pilots, if there is one.
    pub(crate) cache: Option<CacheConfig>,
    /// A file that describes copy tools of the site, if there is one.
    pub(crate) copy_tools: Option<PathBuf>,
    /// How storages are reached over HTTP.
    pub(crate) http: HttpOptions,
}

impl DataSettings {
    /// `client` is how peers are spoken to over HTTPS, with the pilot's certificate.
    pub(super) fn of(
        args: &Args,
        (environment, launch_dir): (&Environment, &Path),
        (client, core): (ClientConfig, &PilotConfig),
    ) -> Self {
        let data = &args.data;
        let numbers = core.profile.data.flow_marker.filter(|_| data.flow_markers);
        let flow = numbers.and_then(|numbers| flow_ids(&numbers, core));
        let cache = data.cache_dir.as_ref().map(|dir| CacheConfig {
            link: match data.cache_link {
                CacheLink::Copy => Link::Copy,
                CacheLink::Hard => Link::Hard,
            },
            ..CacheConfig::new(launch_dir.join(dir), data.cache_size)
        });
        Self {
            parallel: data.transfers,
            http: HttpOptions {
                client,
                flow,
                flow_marker: flow.and_then(|flow| flow_marker(flow, args, core)),
                token_file: environment.get(TOKEN_FILE).map(PathBuf::from),
                ..HttpOptions::default()
            },
            cache,
            copy_tools: data.copy_tools.as_ref().map(|file| launch_dir.join(file)),
        }
    }
}

/// The label of jobs of users.
const ANALYSIS: &str = "user";

/// Chooses the numbers for the jobs that a pilot takes.
fn flow_ids(numbers: &FlowMarkerProfile, core: &PilotConfig) -> Option<FlowIds> {
    let (input, output) = if core.source_label.as_str() == ANALYSIS {
        (FlowActivity::AnalysisInput, FlowActivity::AnalysisOutput)
    } else {
        (
            FlowActivity::ProductionInput,
            FlowActivity::ProductionOutput,
        )
    };
    let id = |activity| FlowId::new(numbers.experiment_id, numbers.activity(activity));
    Some(FlowIds {
        input: id(input)?,
        output: id(output)?,
    })
}

/// Makes what sends packets. Without it only storages are told.
fn flow_marker(flow: FlowIds, args: &Args, core: &PilotConfig) -> Option<FlowMarker> {
    let collector = args.data.flow_collector.map(Receiver::Collector);
    let config = FlowMarkerConfig {
        id: flow.input,
        receivers: [Receiver::Storage].into_iter().chain(collector).collect(),
        application: format!("ailurus-pilot/{VERSION}"),
        host: core.identity.node.to_string(),
    };
    FlowMarker::new(config).ok()
}

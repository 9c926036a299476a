//! What the operator says about where jobs go, in which order, and when they are tried again.

use std::sync::LazyLock;

use ailurus_brokerage::{Policy, ShareTree};
use ailurus_jedi::retry_rules::RetryBook;

use crate::{ResourceTypes, streaming::StreamingRules, throttle::ThrottleRules};

/// Percent of job requests that get the oldest job where global shares are in use, so that no
/// share waits for ever.
///
/// Source: PanDA server, `SLOPPY_DISPATCH_RATIO` in `pandaserver/taskbuffer/db_proxy_mods/`.
const SLOPPY_PERCENT: u32 = 10;

/// What the operator says about where jobs go and in which order.
#[derive(Debug, Clone)]
pub struct Scheduling {
    /// Filters and weights.
    pub policy: Policy,
    /// Global shares; an empty tree makes all work equal.
    pub shares: ShareTree,
    /// Percent of job requests that get the oldest job, if there are shares.
    pub sloppy_percent: u32,
    /// Classes of cores and memory.
    pub resource_types: ResourceTypes,
    /// When no further jobs are made.
    pub throttle: ThrottleRules,
    /// How many workers are asked for.
    pub streaming: StreamingRules,
    /// What is done about failed attempts before the catalogue of errors is asked.
    pub retries: RetryBook,
}

impl Scheduling {
    /// Returns what holds where the operator says nothing.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static BUILT_IN: LazyLock<Scheduling> = LazyLock::new(Scheduling::default);
        &BUILT_IN
    }
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            policy: Policy::built_in(),
            shares: ShareTree::default(),
            sloppy_percent: SLOPPY_PERCENT,
            resource_types: ResourceTypes::default(),
            throttle: ThrottleRules::default(),
            streaming: StreamingRules::default(),
            retries: RetryBook::default(),
        }
    }
}

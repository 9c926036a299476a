//! Options for inputs and outputs.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use ailurus_model::ByteCount;
use clap::ValueEnum;

/// How inputs and outputs are moved.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Inputs and outputs")]
pub(crate) struct DataArgs {
    /// Files of a job that are moved at the same time
    #[arg(long, default_value = "4", value_name = "N")]
    pub(crate) transfers: NonZeroUsize,
    /// File that describes copy tools of the site, see the page on copy tools [default: none]
    #[arg(long, value_name = "FILE")]
    pub(crate) copy_tools: Option<PathBuf>,
    /// Tell storages and networks whose data are moved (`SciTags`), if the profile has numbers for it
    #[arg(long)]
    pub(crate) flow_markers: bool,
    /// Who is told besides, as ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS", requires = "flow_markers")]
    pub(crate) flow_collector: Option<SocketAddr>,
    /// Directory in which pilots keep inputs for each other, on the node or shared by a site
    /// [default: none]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Most bytes of all files in the cache
    #[arg(
        long,
        default_value = "100GiB",
        value_name = "SIZE",
        requires = "cache_dir"
    )]
    pub(crate) cache_size: ByteCount,
    /// How a job gets a file of the cache; a hard link takes no time, but payloads can change what
    /// other jobs read
    #[arg(
        long,
        value_enum,
        default_value = "copy",
        value_name = "HOW",
        requires = "cache_dir"
    )]
    pub(crate) cache_link: CacheLink,
}

/// How a job gets a file of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CacheLink {
    Copy,
    Hard,
}

//! How inputs and outputs are moved, as options say it.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use ailurus_http::ClientConfig;
use ailurus_transfer::{
    cache::{CacheConfig, Link},
    http::HttpOptions,
};

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
        client: ClientConfig,
    ) -> Self {
        let data = &args.data;
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
                token_file: environment.get(TOKEN_FILE).map(PathBuf::from),
                ..HttpOptions::default()
            },
            cache,
            copy_tools: data.copy_tools.as_ref().map(|file| launch_dir.join(file)),
        }
    }
}

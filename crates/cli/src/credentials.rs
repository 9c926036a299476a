//! Who the person is, for servers that ask: a certificate or grid proxy, or a bearer token.
//!
//! Options win over the environment. Nothing is shown to a server without TLS.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use ailurus_http::{BearerToken, ClientCertificate, ClientConfig, Trust};
use clap::Args;

/// Options about who the person is.
#[derive(Debug, Args)]
pub(crate) struct Credentials {
    /// PEM file with certificate, chain and key, such as a grid proxy.
    #[arg(
        long,
        global = true,
        help = "PEM file with certificate, chain and key, such as a grid proxy [default: X509_USER_PROXY]",
        value_name = "FILE"
    )]
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file or directory of the authorities to believe.
    #[arg(
        long,
        global = true,
        help = "PEM file or directory of the authorities to believe [default: X509_CERT_DIR]",
        value_name = "PATH"
    )]
    pub(crate) authorities: Option<PathBuf>,
    /// File with a bearer token.
    #[arg(
        long,
        global = true,
        help = "File with a bearer token [default: AILURUS_TOKEN_FILE]",
        value_name = "FILE"
    )]
    pub(crate) token: Option<PathBuf>,
    /// The token's organisation and role: VO or VO.ROLE.
    #[arg(
        long,
        global = true,
        help = "The token's organisation and role: VO or VO.ROLE [default: AILURUS_TOKEN_ORIGIN]",
        value_name = "VO"
    )]
    pub(crate) token_origin: Option<String>,
}

impl Credentials {
    /// Puts what is known of the person into the settings of a client of this server.
    pub(crate) fn apply(&self, server: &str, config: &mut ClientConfig) {
        if !server.starts_with("https://") {
            return;
        }
        let file = |option: &Option<PathBuf>, name| {
            option.clone().or_else(|| variable(name).map(PathBuf::from))
        };
        if let Some(path) = file(&self.authorities, "X509_CERT_DIR") {
            config.trust = trust(&path);
        }
        let token = file(&self.token, "AILURUS_TOKEN_FILE");
        let origin = self.token_origin.clone();
        let origin = origin.or_else(|| variable("AILURUS_TOKEN_ORIGIN")?.into_string().ok());
        config.token = token.map(|file| BearerToken {
            file,
            origin: origin.unwrap_or_default(),
        });
        // A token says all; a certificate that is out of date would only be in its way.
        if config.token.is_none() {
            let certificate = file(&self.certificate, "X509_USER_PROXY");
            config.certificate = certificate.map(|file| ClientCertificate {
                chain_file: file.clone(),
                key_file: file,
            });
        }
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn trust(path: &Path) -> Trust {
    if path.is_dir() {
        Trust::DirectoryAndBuiltIn(path.to_owned())
    } else {
        Trust::File(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_without_tls_and_a_token_comes_first() {
        let credentials = Credentials {
            certificate: Some("proxy.pem".into()),
            authorities: Some("ca.pem".into()),
            token: Some("token".into()),
            token_origin: Some("spd".into()),
        };
        let mut config = ClientConfig::default();
        credentials.apply("http://127.0.0.1:25080", &mut config);
        assert!(config.token.is_none() && config.certificate.is_none());
        credentials.apply("https://panda.example.org:25443", &mut config);
        assert_eq!(config.trust, Trust::File("ca.pem".into()));
        assert_eq!(
            config.token.map(|token| token.origin),
            Some("spd".to_owned())
        );
        assert!(config.certificate.is_none());
    }
}

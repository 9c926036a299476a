//! What `config check` says of certificates, authorities and issuers: what will stop working soon,
//! and what works otherwise than it looks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ailurus_identity::{Authorities, HostCertificate, Tokens};
use ailurus_model::{Timestamp, units::format_duration};

use crate::{
    config::{IdentityConfig, TlsConfig},
    identities::{Identities, IdentityError},
};

/// How long before its end a certificate is warned of.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Looks at everything, and asks the issuers of tokens. Returns lines for people.
///
/// # Errors
///
/// [`IdentityError`] if the server could not start.
pub(crate) fn check(config: &IdentityConfig) -> Result<Vec<String>, IdentityError> {
    let mut found = Vec::new();
    if let Some(tls) = &config.tls {
        check_tls(tls, &mut found)?;
    }
    let identities = Identities::load(config)?;
    if let Some(tokens) = identities.tokens() {
        check_tokens(&tokens, &mut found);
    }
    let is_alone = config.tls.is_none() && config.tokens.is_none();
    if config.trust_loopback && !is_alone {
        found.push(
            "warning: `trust_loopback` is on: whoever is on this machine, also through a proxy or a \
             tunnel, may do everything"
                .to_owned(),
        );
    }
    if let Some(proxies) = &config.credentials.proxies
        && !proxies.is_dir()
    {
        let path = proxies.display();
        found.push(format!(
            "warning: `credentials.proxies`: `{path}` is no folder"
        ));
    }
    Ok(found)
}

fn check_tls(tls: &TlsConfig, found: &mut Vec<String>) -> Result<(), IdentityError> {
    let host = HostCertificate::load(&tls.certificate, &tls.key)?;
    let (begins, ends) = host.period;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let name = &host.name;
    let left = u64::try_from(ends - now).ok().map(Duration::from_secs);
    found.push(match left {
        None => format!(
            "warning: certificate `{name}` has expired, on {}",
            day(ends)
        ),
        Some(_) if now < begins => {
            format!(
                "warning: certificate `{name}` is not valid before {}",
                day(begins)
            )
        }
        Some(left) if left < SOON => {
            let left = format_duration(Duration::from_secs(left.as_secs() / 3600 * 3600));
            format!(
                "warning: certificate `{name}` ends in {left}, on {}",
                day(ends)
            )
        }
        Some(_) => format!("certificate `{name}` is valid until {}", day(ends)),
    });
    if host.is_key_open {
        let key = tls.key.display();
        found.push(format!(
            "warning: key `{key}` may be read by others: `chmod 600 {key}`"
        ));
    }
    let Some(settings) = &tls.authorities else {
        found.push("clients are asked for no certificates: `tls.authorities` is none".to_owned());
        return Ok(());
    };
    let authorities = Authorities::load(settings)?;
    let (n_authorities, n_lists, n_servers) = authorities.counts();
    found.push(format!(
        "{n_authorities} authorities, {n_lists} lists of revoked certificates, {n_servers} VOMS servers"
    ));
    let complaints = authorities.complaints().iter();
    found.extend(complaints.map(|complaint| format!("warning: {complaint}")));
    Ok(())
}

fn check_tokens(tokens: &Tokens, found: &mut Vec<String>) {
    for (issuer, problem) in tokens.ask_all() {
        found.push(match problem {
            None => format!("issuer `{issuer}` answers, and has keys for RS256"),
            Some(problem) => format!("warning: issuer `{issuer}`: {problem}"),
        });
    }
}

fn day(seconds: i64) -> String {
    let text = Timestamp::from_millis(seconds.saturating_mul(1000)).to_panda_text();
    text.split('.').next().unwrap_or_default().to_owned()
}

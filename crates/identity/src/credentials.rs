//! Names of the files in which credentials lie that are given to pilots and Harvester.
//!
//! Pure. Source: panda-server, `pandaserver/proxycache/{panda_proxy_cache,token_cache}.py`.

use std::fmt::Write as _;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::name;

/// Returns the name of the file with somebody's proxy: a digest of their name and the role.
#[must_use]
pub fn proxy_file(dn: &str, role: Option<&str>) -> String {
    let mut who = name::bare(dn);
    if let Some(role) = role {
        let last = role.rsplit('=').next().unwrap_or_default();
        who.push('.');
        who.push_str(last);
    }
    let mut file = String::with_capacity(40);
    for byte in digest(&SHA1_FOR_LEGACY_USE_ONLY, who.as_bytes()).as_ref() {
        let _ = write!(file, "{byte:02x}");
    }
    file
}

/// Returns the name of the file with a client's access token.
#[must_use]
pub fn token_file(client: &str) -> String {
    format!("access_token_{}", name::bare(client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_by_panda() {
        // `printf %s /CN=A | sha1sum`, and with `.production` after it.
        assert_eq!(
            proxy_file("/CN=A/CN=123", None),
            "f6879920169ce71e5c797932b2d912f1aae2bb68"
        );
        assert_eq!(
            proxy_file("/CN=A", Some("spd:/spd/Role=production")),
            "906b7d73e2c2c2f5e1df0bb3f406d479459137f9"
        );
        assert_eq!(token_file("pilot_server"), "access_token_pilot_server");
    }
}

//! The PanDA server's address from `--url` and `--port`.

/// The server of those who name none.
const DEFAULT_SERVER: &str = "pandaserver.cern.ch";

/// Joins URL and port into `scheme://host:port`, without a slash at the end.
///
/// Without a scheme it is `https`. A port in the URL wins over `port`; zero means the scheme's
/// own. A path is dropped.
///
/// Source: Pilot 3, `pilot/util/https.py`, `get_panda_server`.
pub(crate) fn server_address(url: &str, port: u16) -> String {
    let url = if url.trim().is_empty() {
        DEFAULT_SERVER
    } else {
        url.trim()
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if port == 0 || has_port(authority) {
        format!("{scheme}://{authority}")
    } else {
        format!("{scheme}://{authority}:{port}")
    }
}

fn has_port(authority: &str) -> bool {
    // The colons of an IPv6 address stand in brackets.
    let after_host = authority.rsplit(']').next().unwrap_or_default();
    after_host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_port_are_completed() {
        assert_eq!(
            server_address("", 25443),
            "https://pandaserver.cern.ch:25443"
        );
        assert_eq!(
            server_address("panda.jinr.ru", 25443),
            "https://panda.jinr.ru:25443"
        );
        assert_eq!(
            server_address("http://127.0.0.1:8080/x", 25443),
            "http://127.0.0.1:8080"
        );
        assert_eq!(server_address("http://host", 0), "http://host");
        assert_eq!(server_address("http://[::1]", 80), "http://[::1]:80");
        assert_eq!(server_address("http://[::1]:81", 80), "http://[::1]:81");
    }
}

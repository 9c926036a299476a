//! Bytes of a client's certificate, proxies and VOMS attributes, and of its token.
#![no_main]

use std::sync::LazyLock;

use ailurus_identity::{TokenSettings, Tokens, chain, name, token, voms};
use libfuzzer_sys::fuzz_target;

/// One issuer, which is never asked: only what comes before its keys is judged here.
static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let file = r#"{"audience": "a", "client_id": "c", "client_secret": "s", "vo": "spd",
        "oidc_config_url": "https://issuer.invalid/.well-known/openid-configuration"}"#;
    let path = folder.path().join("spd_auth_config.json");
    std::fs::write(path, file).expect("it can be written");
    Tokens::load(TokenSettings::new(folder.path().to_owned()), None).expect("it is right")
});

fuzz_target!(|bytes: &[u8]| {
    drop(voms::read(bytes));
    drop(chain::read_proxy_info(bytes));
    if let Ok(chain) = chain::parse([bytes].into_iter()) {
        drop(chain::walk(&chain, 1_800_000_000));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let compact = name::compact(text);
        assert!(compact.len() <= text.len());
        drop(name::bare(text));
        let _ = token::split_origin(text);
        if let Some(judged) = TOKENS.known(text, Some("spd")) {
            assert!(judged.is_err(), "nobody has signed `{text}`");
        }
    }
});

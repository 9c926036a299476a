//! The public keys of an issuer (JWKS, RFC 7517).

use std::collections::BTreeMap;

use jsonwebtoken::DecodingKey;
use serde_json::Value;

/// Keys of one issuer that are read.
const KEYS_MAX: usize = 100;

/// The keys of an issuer that can check RS256.
#[derive(Debug)]
pub(super) struct KeySet {
    /// The issuer's own name.
    pub(super) issuer: String,
    keys: BTreeMap<String, DecodingKey>,
}

impl KeySet {
    /// Reads the keys; those for other ends are left out. None if it is no set of keys.
    pub(super) fn read(issuer: &str, set: &Value) -> Option<Self> {
        let all = set.get("keys")?.as_array()?;
        let keys = all.iter().take(KEYS_MAX).filter_map(read_key).collect();
        Some(Self {
            issuer: issuer.to_owned(),
            keys,
        })
    }

    pub(super) fn find(&self, key_id: &str) -> Option<&DecodingKey> {
        self.keys.get(key_id)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

fn read_key(key: &Value) -> Option<(String, DecodingKey)> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let is_for_signatures = text("use").is_none_or(|end| end == "sig");
    let is_rs256 = text("alg").is_none_or(|algorithm| algorithm == "RS256");
    if text("kty") != Some("RSA") || !is_for_signatures || !is_rs256 {
        return None;
    }
    let key = DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?;
    Some((text("kid")?.to_owned(), key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_keys_for_rs256_signatures_are_read() {
        let key = |kid: &str, kty: &str, usage: &str, alg: &str| json!({"kid": kid, "kty": kty, "use": usage, "alg": alg, "n": "AQAB", "e": "AQAB"});
        let set = json!({"keys": [
            key("good", "RSA", "sig", "RS256"),
            key("curve", "EC", "sig", "ES256"),
            key("secret", "oct", "sig", "HS256"),
            key("for encryption", "RSA", "enc", "RSA-OAEP"),
            {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
            {"kid": "plain", "kty": "RSA", "n": "AQAB", "e": "AQAB"},
            7,
        ]});
        let keys = KeySet::read("https://issuer", &set).unwrap();
        assert_eq!(keys.len(), 2);
        assert!(keys.find("good").is_some() && keys.find("plain").is_some());
        assert!(KeySet::read("https://issuer", &json!([])).is_none());
    }
}

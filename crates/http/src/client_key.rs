//! Keys of clients that prove themselves by a grid proxy.
//!
//! A proxy (RFC 3820) says with a critical extension that it is one. Our TLS library knows no such
//! extension, so comparing key and certificate, which it does for every client, would refuse each
//! proxy. A key that does not tell its public half is not compared. Whether they belong together
//! is up to the server, which checks every signature anyway.

use std::sync::Arc;

use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    crypto::{CryptoProvider, KeyProvider, ring},
    pki_types::PrivateKeyDer,
    sign::{Signer, SigningKey},
};

/// Returns the provider of cryptography for clients with a certificate.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        key_provider: &Keys,
        ..ring::default_provider()
    }
}

/// Says whether a key can be used at all.
pub(crate) fn is_usable(key: PrivateKeyDer<'static>) -> bool {
    Keys.load_private_key(key).is_ok()
}

#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let key = ring::default_provider()
            .key_provider
            .load_private_key(key)?;
        Ok(Arc::new(ClientKey(key)))
    }
}

/// Signs as the key inside does, but keeps its public half to itself.
#[derive(Debug)]
struct ClientKey(Arc<dyn SigningKey>);

impl SigningKey for ClientKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(offered)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

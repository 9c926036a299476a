//! Who calls: certificates, grid proxies and bearer tokens.
//!
//! * [`Authorities`] believes clients' certificates and proxies (RFC 3820), and reads the VOMS
//!   attributes in them; [`certificate`] is its face towards TLS;
//! * [`Tokens`] believes bearer tokens (OIDC) of configured issuers;
//! * [`RolePolicy`] says what a name or a VOMS attribute allows.
//!
//! All of it together makes an [`ailurus_model::Caller`]. Signatures are checked by `rustls`'
//! verifier, `x509-parser` and `jsonwebtoken`, all of them with `ring`; this crate adds the rules
//! that these do not know. No key, token or secret reaches a log or a message.

pub mod authorities;
pub mod certificate;
pub mod chain;
pub mod credentials;
mod der;
pub mod host;
pub mod name;
pub mod roles;
mod signing_policy;
pub mod token;
pub mod version;
pub mod voms;

pub use authorities::{
    Authorities, AuthorityError, AuthoritySettings, CertificateIdentity, RevocationPolicy,
    VomsPolicy,
};
pub use host::{HostCertificate, HostError};
pub use roles::{RolePolicy, RolePolicyError, RoleSettings};
pub use token::{TokenIdentity, TokenRefusal, TokenSettings, Tokens, TokensError};
pub use version::FilesVersion;

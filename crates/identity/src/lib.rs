//! Who calls: certificates, grid proxies and bearer tokens.

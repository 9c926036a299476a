//! Who calls the server, and what they may do.
//!
//! Found by an adapter from a certificate, a token or the place of a connection; handlers and
//! operations only ask [`Caller`].

use std::collections::BTreeSet;

/// How a caller proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: the caller is nobody, and may do what everybody may.
    None,
    /// The connection comes from this machine, and the server was told to trust that.
    Loopback,
    /// An X.509 certificate or a full proxy.
    Certificate,
    /// A limited proxy: enough for pilots' legacy calls, not for calls that are marked secure.
    LimitedProxy,
    /// A bearer token.
    Token,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// How they proved it.
    pub proof: Proof,
    /// Distinguished name in slash form as PanDA writes it, for example
    /// `/DC=ch/CN=Jane Doe/CN=nickname:jdoe`; empty for nobody.
    pub dn: String,
    /// PanDA's compact user name, for example `Jane Doe`; empty for nobody.
    pub name: String,
    /// VOMS attributes, for example `/spd/Role=production`.
    pub fqans: Vec<String>,
    /// What they may do beyond their own tasks and jobs.
    pub rights: Rights,
}

/// What a caller may do beyond their own tasks and jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// Everything that is marked *production*: steer all tasks and jobs, serve as a pilot.
    pub production: bool,
    /// Pilots' calls of the legacy dialect.
    pub pilot: bool,
    /// Working groups whose tasks and jobs they may steer.
    pub working_groups: BTreeSet<String>,
}

impl Caller {
    /// Nobody: no certificate, no token, and no trusted place.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            proof: Proof::None,
            dn: String::new(),
            name: String::new(),
            fqans: Vec::new(),
            rights: Rights::default(),
        }
    }

    /// Somebody on this machine, who is trusted with everything. Tasks belong to whom they name.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            proof: Proof::Loopback,
            rights: Rights {
                production: true,
                pilot: true,
                working_groups: BTreeSet::new(),
            },
            ..Self::nobody()
        }
    }

    /// Says whether the call counts as secure in PanDA's sense.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        match self.proof {
            Proof::Loopback | Proof::Certificate | Proof::Token => true,
            Proof::None | Proof::LimitedProxy => false,
        }
    }

    /// Says whether they may steer what belongs to `owner` (a compact name) and a working group.
    #[must_use]
    pub fn may_steer(&self, owner: &str, working_group: &str) -> bool {
        self.rights.production
            || (!self.name.is_empty() && self.name == owner)
            || self.rights.working_groups.contains(working_group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_steers_nothing_and_owners_steer_their_own() {
        let nobody = Caller::nobody();
        assert!(!nobody.is_secure());
        assert!(!nobody.may_steer("", ""));
        let jane = Caller {
            proof: Proof::Token,
            name: "Jane Doe".into(),
            ..Caller::nobody()
        };
        assert!(jane.may_steer("Jane Doe", "") && !jane.may_steer("John Doe", ""));
        assert!(Caller::loopback().may_steer("John Doe", "spd"));
    }
}

//! Tokens that were accepted a short while ago. Only a digest of each is kept.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ring::digest::{SHA256, digest};

use crate::token::TokenIdentity;

/// A digest of a token and the role that was asked with it.
pub(super) type Key = [u8; 32];

/// Remembers decisions, up to a number.
#[derive(Debug)]
pub(super) struct Decisions {
    most: usize,
    known: Mutex<BTreeMap<Key, (i64, TokenIdentity)>>,
}

impl Decisions {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            known: Mutex::default(),
        }
    }

    pub(super) fn key(token: &str, origin: Option<&str>) -> Key {
        let origin = origin.unwrap_or_default();
        let text = format!("{}:{origin}:{token}", origin.len());
        let mut key = Key::default();
        key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        key
    }

    /// Returns who it was; `now` is in seconds since 1970.
    pub(super) fn find(&self, key: &Key, now: i64) -> Option<TokenIdentity> {
        let known = self.locked();
        let (until, identity) = known.get(key)?;
        (now < *until).then(|| identity.clone())
    }

    /// Remembers until a time. Where there is no room, what has ended goes, else all of it: it is
    /// found out again soon.
    pub(super) fn remember(&self, key: Key, identity: &TokenIdentity, until: i64, now: i64) {
        let mut known = self.locked();
        if known.len() >= self.most {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() >= self.most {
            known.clear();
        }
        if self.most > 0 && now < until {
            known.insert(key, (until, identity.clone()));
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Key, (i64, TokenIdentity)>> {
        // Every change is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn somebody() -> TokenIdentity {
        TokenIdentity {
            dn: "Jane Doe".into(),
            fqans: Vec::new(),
            ends: 1000,
        }
    }

    #[test]
    fn a_decision_ends_in_time_and_never_takes_more_room_than_allowed() {
        let decisions = Decisions::new(3);
        let key = |nr: u8| Decisions::key("token", Some(&format!("vo{nr}")));
        for nr in 0..10 {
            decisions.remember(key(nr), &somebody(), 100, 50);
            assert_eq!(decisions.find(&key(nr), 99), Some(somebody()));
            assert_eq!(decisions.find(&key(nr), 100), None);
            assert!(decisions.locked().len() <= 3);
        }
    }

    #[test]
    fn the_same_token_for_another_role_is_another_decision() {
        assert_ne!(Decisions::key("t", Some("spd")), Decisions::key("t", None));
        assert_ne!(
            Decisions::key("b", Some("a")),
            Decisions::key(":b", Some(""))
        );
    }
}

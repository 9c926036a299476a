//! Macaroons: tokens that a storage makes for one path, one activity and a short time.
//!
//! Source: dCache's user guide and the WLCG's third-party copy documents; XRootD, dCache and DPM
//! answer the same request.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ailurus_http::{Content, Exchange, Secret};
use serde_json::{Value, json};

use super::{
    answer::{Action, cause_of},
    credential::Macaroons,
    place::Place,
    session::{ANSWER_LIMIT, Session},
};
use crate::{Cause, TransferError};

/// Most macaroons that are kept.
const KEPT_MAX: usize = 1000;

/// Longest answer with a macaroon, in bytes.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// What a request does, and so what its macaroon must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Activity {
    /// Asks for a credential; needs none of its own.
    Ask,
    /// Reads a file or asks about it.
    Download,
    /// Writes, renames and removes.
    Upload,
}

impl Activity {
    const fn caveat(self) -> &'static str {
        match self {
            Self::Ask => "",
            Self::Download => "activity:DOWNLOAD,LIST",
            // A name in the making is renamed and, if that fails, removed.
            Self::Upload => "activity:UPLOAD,MANAGE,DELETE,LIST,DOWNLOAD",
        }
    }
}

/// The macaroons of a tool: one a directory and activity.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<(String, Activity), Kept>>);

#[derive(Debug, Clone)]
struct Kept {
    authorization: Secret,
    until: Instant,
}

impl Memory {
    /// Returns a macaroon for the directory of a place, from the storage if none is kept.
    pub(crate) fn get(
        &self,
        session: &Session<'_>,
        place: &Place,
        activity: Activity,
        macaroons: Macaroons,
        token: Option<&Secret>,
    ) -> Result<Secret, TransferError> {
        let key = key(place, activity);
        let kept = self.kept().get(&key).cloned();
        if let Some(kept) = kept.filter(|it| it.until > Instant::now()) {
            return Ok(kept.authorization);
        }
        let authorization = request(session, place, activity, macaroons, token)?;
        let mut all = self.kept();
        if all.len() >= KEPT_MAX {
            all.clear();
        }
        let now = Instant::now();
        let until = now.checked_add(macaroons.validity / 2).unwrap_or(now);
        let kept = Kept {
            authorization: authorization.clone(),
            until,
        };
        all.insert(key, kept);
        Ok(authorization)
    }

    /// Forgets one that was refused.
    pub(crate) fn forget(&self, place: &Place, activity: Activity) {
        self.kept().remove(&key(place, activity));
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<(String, Activity), Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory of a place, of which the macaroon is asked.
fn directory(place: &Place) -> Place {
    place.parent().unwrap_or_else(|| place.clone())
}

fn key(place: &Place, activity: Activity) -> (String, Activity) {
    (directory(place).shown(), activity)
}

fn request(
    session: &Session<'_>,
    place: &Place,
    activity: Activity,
    macaroons: Macaroons,
    token: Option<&Secret>,
) -> Result<Secret, TransferError> {
    let place = directory(place);
    let caveats = [activity.caveat()];
    let body = json!({"caveats": caveats, "validity": validity(macaroons.validity)}).to_string();
    session.wait.allow(ANSWER_LIMIT);
    let exchange = Exchange {
        method: "POST",
        url: &place.url(),
        headers: &[
            ("Content-Type", "application/macaroon-request"),
            ("Accept", "application/json"),
        ],
        authorization: token,
        content: Content::Bytes(body.as_bytes()),
    };
    let mut answer = session
        .tool
        .exchanger
        .send(exchange, &session.wait)
        .map_err(|error| session.silence(&place, &error, ANSWER_LIMIT))?;
    if !answer.is_success() {
        let mut cause = cause_of(answer, Action::Read);
        if let Cause::Refused { why } = cause {
            let why = format!("it gives no macaroon: {why}");
            cause = Cause::Denied { why };
        }
        return Err(session.error(&place, cause));
    }
    let text = answer.text(ANSWER_MAX_BYTES);
    let macaroon = serde_json::from_str(&text)
        .ok()
        .and_then(|it: Value| Some(it.get("macaroon")?.as_str()?.to_owned()))
        .filter(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_graphic()));
    let Some(macaroon) = macaroon else {
        let why = "its answer has no macaroon".to_owned();
        return Err(session.error(&place, Cause::Denied { why }));
    };
    Ok(Secret::new(format!("Bearer {macaroon}")))
}

/// A duration as ISO 8601 writes it.
fn validity(duration: Duration) -> String {
    format!("PT{}S", duration.as_secs().max(1))
}

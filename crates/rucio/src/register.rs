//! What the catalogue is told: new replicas, their states, datasets, bad replicas.

use std::collections::BTreeMap;

use ailurus_model::{ByteCount, EndpointName};
use ailurus_wire::rucio::{
    DIDS_MAX, Did,
    refusal::RefusalKind,
    register::{self, Attachment, NewReplica, ReplicaState},
    replicas::{Doors, FileReplicas, ReplicaQuery, SwitchedOff},
};
use serde_json::Value;

use crate::{
    Call, RucioClient, RucioError,
    client::{Method, Repeat, Request},
};

/// Files that are registered at once: a server's database may refuse conditions on more.
const FILES_AT_ONCE: usize = 500;

impl RucioClient {
    /// Registers files that lie on an endpoint, and reads them back.
    ///
    /// A file that the catalogue has already, with the same size and checksum, gets one more
    /// replica. Registering again changes nothing.
    ///
    /// # Errors
    ///
    /// [`RucioError::OtherFile`] if the catalogue has a file of this name with another size or
    /// checksum: servers say nothing of it. Else [`RucioError`] of the first files that could not
    /// be registered; those before them, in pieces of 500, are.
    pub fn register(&self, rse: &EndpointName, files: &[NewReplica]) -> Result<(), RucioError> {
        for piece in files.chunks(FILES_AT_ONCE) {
            let body = register::encode_new(rse, piece, SwitchedOff::LeftOut);
            match self.tell(Call::Register, register::REPLICAS_PATH, &body, Method::Post) {
                // An earlier try may have arrived; what is there is looked at in any case.
                Err(RucioError::Refused { refusal, .. })
                    if refusal.kind() == RefusalKind::Exists => {}
                outcome => outcome?,
            }
            self.confirm(rse, piece)?;
        }
        Ok(())
    }

    /// Compares what the catalogue has with what it was told.
    fn confirm(&self, rse: &EndpointName, files: &[NewReplica]) -> Result<(), RucioError> {
        let query = ReplicaQuery {
            rse_expression: Some(rse.as_str().to_owned()),
            doors: Doors::All,
            switched_off: SwitchedOff::Told,
            ..ReplicaQuery::default()
        };
        let dids: Vec<Did> = files.iter().map(NewReplica::did).collect();
        let mut known: BTreeMap<Did, FileReplicas> = BTreeMap::new();
        self.list_replicas(&dids, &query, |file| {
            known.insert(file.did(), file);
        })?;
        for (did, file) in dids.into_iter().zip(files) {
            match known.get(&did) {
                Some(there) => {
                    if let Some((known, given)) = difference(there, file) {
                        return Err(RucioError::OtherFile { did, known, given });
                    }
                    if !there.replicas.iter().any(|replica| replica.rse == *rse) {
                        return Err(not_registered(did, rse));
                    }
                }
                None => return Err(not_registered(did, rse)),
            }
        }
        Ok(())
    }

    /// Changes what the catalogue says of replicas on an endpoint.
    ///
    /// # Errors
    ///
    /// [`RucioError`] of the first 1,000 replicas whose states could not be changed.
    pub fn set_states(
        &self,
        rse: &EndpointName,
        files: &[(Did, ReplicaState)],
    ) -> Result<(), RucioError> {
        for piece in files.chunks(DIDS_MAX) {
            let body = register::encode_states(rse, piece);
            self.tell(Call::States, register::REPLICAS_PATH, &body, Method::Put)?;
        }
        Ok(())
    }

    /// Attaches files to a dataset that exists. Those that it has already are passed over.
    ///
    /// # Errors
    ///
    /// [`RucioError`] of the first 1,000 files that could not be attached.
    pub fn attach(&self, dataset: &Did, files: &[Did]) -> Result<(), RucioError> {
        for piece in files.chunks(DIDS_MAX) {
            let body = register::encode_attachments(&[Attachment {
                dataset: dataset.clone(),
                files: piece.to_vec(),
            }]);
            self.tell(
                Call::Attach,
                register::ATTACHMENTS_PATH,
                &body,
                Method::Post,
            )?;
        }
        Ok(())
    }

    /// Declares replicas bad: the catalogue does not give them out any more. Returns which ones it
    /// did not take, and why, by endpoint: they are unknown, or declared already.
    ///
    /// # Errors
    ///
    /// [`RucioError`] if none could be declared, or not all were.
    pub fn declare_bad(
        &self,
        replicas: &[(Did, EndpointName)],
        reason: &str,
    ) -> Result<BTreeMap<EndpointName, Vec<String>>, RucioError> {
        let mut left = BTreeMap::new();
        for piece in replicas.chunks(DIDS_MAX) {
            let body = register::encode_bad(piece, reason).to_string();
            let request = Request {
                call: Call::DeclareBad,
                method: Method::Post,
                path: register::BAD_PATH,
                body: body.as_bytes(),
                repeat: Repeat::Always,
            };
            left.extend(self.call(request, |answer| {
                register::decode_not_declared(&answer.body)
            })?);
        }
        Ok(left)
    }

    /// Declares that replicas may be bad: the catalogue acts when this comes often. Returns what
    /// it did not take, by endpoint.
    ///
    /// # Errors
    ///
    /// [`RucioError`] if a call failed. It is not repeated if it may have arrived, since each one
    /// counts.
    pub fn declare_suspicious(
        &self,
        pfns: &[String],
        reason: &str,
    ) -> Result<BTreeMap<EndpointName, Vec<String>>, RucioError> {
        let mut by_scheme: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for pfn in pfns {
            let scheme = pfn.split_once("://").map_or("", |(scheme, _)| scheme);
            by_scheme.entry(scheme).or_default().push(pfn.clone());
        }
        let mut left = BTreeMap::new();
        for piece in by_scheme.values().flat_map(|pfns| pfns.chunks(DIDS_MAX)) {
            let body = register::encode_suspicious(piece, reason).to_string();
            let request = Request {
                call: Call::DeclareSuspicious,
                method: Method::Post,
                path: register::SUSPICIOUS_PATH,
                body: body.as_bytes(),
                repeat: Repeat::IfNotArrived,
            };
            left.extend(self.call(request, |answer| {
                register::decode_not_declared(&answer.body)
            })?);
        }
        Ok(left)
    }

    fn tell(&self, call: Call, path: &str, body: &Value, method: Method) -> Result<(), RucioError> {
        let body = body.to_string();
        let request = Request {
            call,
            method,
            path,
            body: body.as_bytes(),
            repeat: Repeat::Always,
        };
        self.call(request, |_| Ok(()))
    }
}

fn not_registered(did: Did, rse: &EndpointName) -> RucioError {
    RucioError::NotRegistered {
        did,
        rse: rse.to_string(),
    }
}

/// Says in what the file of the catalogue is another one. What it does not know is no difference.
fn difference(known: &FileReplicas, given: &NewReplica) -> Option<(String, String)> {
    let text = |size: &ByteCount| format!("{} bytes", size.as_bytes());
    if let Some(size) = known.size.as_ref().filter(|size| **size != given.size) {
        return Some((text(size), text(&given.size)));
    }
    if let Some(sum) = known.adler32.as_ref().filter(|sum| **sum != given.adler32) {
        return Some((sum.to_string(), given.adler32.to_string()));
    }
    match (&known.md5, &given.md5) {
        (Some(known), Some(given)) if known != given => {
            Some((known.to_string(), given.to_string()))
        }
        (Some(_) | None, Some(_) | None) => None,
    }
}

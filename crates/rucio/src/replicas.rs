//! Where many files are: asked in pieces that servers take.

use std::collections::BTreeSet;

use ailurus_wire::rucio::{
    DIDS_MAX, Did,
    replicas::{self, FileReplicas, ReplicaQuery},
};

use crate::{
    Call, RucioClient, RucioError,
    client::{Method, Repeat, Request},
};

/// What became of a look-up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Files that the catalogue knows.
    pub n_known: usize,
    /// Files that it does not know, in the order of the question.
    pub unknown: Vec<Did>,
}

impl RucioClient {
    /// Asks where files are, and gives each file that the catalogue knows to `each`.
    ///
    /// The order is the server's; a file that was named twice comes once. Memory is needed for
    /// one piece of 1,000 files at a time, and for what `each` keeps.
    ///
    /// # Errors
    ///
    /// [`RucioError`] at the first piece without a good answer; the files of earlier pieces were
    /// given.
    pub fn list_replicas(
        &self,
        files: &[Did],
        query: &ReplicaQuery,
        mut each: impl FnMut(FileReplicas),
    ) -> Result<Listing, RucioError> {
        let mut listing = Listing::default();
        let mut seen = BTreeSet::new();
        let (askable, nameless): (Vec<&Did>, Vec<&Did>) = files
            .iter()
            .filter(|did| seen.insert(*did))
            .partition(|did| is_askable(did));
        for piece in askable.chunks(DIDS_MAX) {
            let piece: Vec<Did> = piece.iter().map(|did| (*did).clone()).collect();
            let mut open: BTreeSet<Did> = piece.iter().cloned().collect();
            for file in self.list_piece(&piece, query)? {
                if open.remove(&file.did()) {
                    listing.n_known += 1;
                    each(file);
                } else {
                    tracing::debug!(file = %file.did(), "Rucio tells of a file not asked for");
                }
            }
            let unknown = piece.into_iter().filter(|did| open.contains(did));
            listing.unknown.extend(unknown);
        }
        listing.unknown.extend(nameless.into_iter().cloned());
        Ok(listing)
    }

    fn list_piece(
        &self,
        files: &[Did],
        query: &ReplicaQuery,
    ) -> Result<Vec<FileReplicas>, RucioError> {
        let body = replicas::encode_query(files, query).to_string();
        let request = Request {
            call: Call::ListReplicas,
            method: Method::Post,
            path: replicas::PATH,
            body: body.as_bytes(),
            repeat: Repeat::Always,
        };
        self.call(request, |answer| {
            let mut found = Vec::new();
            replicas::decode_answer(&answer.body, |file| found.push(file))?;
            Ok(found)
        })
    }
}

/// One name without any letter or digit makes the server refuse all names beside it.
///
/// Source: Rucio, `lib/rucio/common/schema/generic.py`, `R_SCOPE` and `R_NAME`.
fn is_askable(did: &Did) -> bool {
    let has_word = |text: &str| text.contains(|c: char| c.is_alphanumeric() || c == '_');
    has_word(did.scope.as_str()) && has_word(&did.name)
}

//! Which files a dataset has.

use ailurus_wire::rucio::{
    Did, RucioAnswerError,
    dids::{self, DidFile, DidState},
    refusal::RefusalKind,
};

use crate::{
    Call, RucioClient, RucioError,
    client::{Method, Repeat, Request, encoded},
};

impl RucioClient {
    /// Lists the files of a dataset, or of all datasets of a container; none if there is no such
    /// name.
    ///
    /// # Errors
    ///
    /// [`RucioError`] if there is no good answer.
    pub fn list_files(&self, did: &Did) -> Result<Option<Vec<DidFile>>, RucioError> {
        self.about(did, "/files", dids::decode_files)
    }

    /// Says whether a dataset or a container may get more files; none if there is no such name.
    ///
    /// # Errors
    ///
    /// [`RucioError`] if there is no good answer.
    pub fn state_of(&self, did: &Did) -> Result<Option<DidState>, RucioError> {
        self.about(did, "", dids::decode_state)
    }

    /// Asks about a name; none if there is no such name.
    fn about<T>(
        &self,
        did: &Did,
        what: &str,
        decode: impl Fn(&[u8]) -> Result<T, RucioAnswerError>,
    ) -> Result<Option<T>, RucioError> {
        let scope = encoded(did.scope.as_str());
        let path = format!("/dids/{scope}/{}{what}", encoded(&did.name));
        let request = Request {
            call: Call::ListFiles,
            method: Method::Get,
            path: &path,
            body: &[],
            repeat: Repeat::Always,
        };
        match self.call(request, |answer| decode(&answer.body)) {
            Ok(known) => Ok(Some(known)),
            Err(RucioError::Refused { refusal, .. }) if refusal.kind() == RefusalKind::Unknown => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

//! Which files a dataset has.

use ailurus_wire::rucio::{
    Did,
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
        let path = format!(
            "/dids/{}/{}/files",
            encoded(did.scope.as_str()),
            encoded(&did.name)
        );
        let request = Request {
            call: Call::ListFiles,
            method: Method::Get,
            path: &path,
            body: &[],
            repeat: Repeat::Always,
        };
        match self.call(request, |answer| dids::decode_files(&answer.body)) {
            Ok(files) => Ok(Some(files)),
            Err(RucioError::Refused { refusal, .. }) if refusal.kind() == RefusalKind::Unknown => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Says whether a dataset or a container may get more files; none if there is no such name.
    ///
    /// # Errors
    ///
    /// [`RucioError`] if there is no good answer.
    pub fn state_of(&self, did: &Did) -> Result<Option<DidState>, RucioError> {
        let path = format!(
            "/dids/{}/{}",
            encoded(did.scope.as_str()),
            encoded(&did.name)
        );
        let request = Request {
            call: Call::ListFiles,
            method: Method::Get,
            path: &path,
            body: &[],
            repeat: Repeat::Always,
        };
        match self.call(request, |answer| dids::decode_state(&answer.body)) {
            Ok(state) => Ok(Some(state)),
            Err(RucioError::Refused { refusal, .. }) if refusal.kind() == RefusalKind::Unknown => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

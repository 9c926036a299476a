//! What a storage says about a file: HEAD, and PROPFIND where HEAD says too little.

use ailurus_http::Answer;
use ailurus_model::{ByteCount, Checksum};

use super::{
    answer::Action,
    digest,
    macaroon::Activity,
    place::Place,
    session::{Ask, Body, Session},
};
use crate::{Cause, TransferError, checksum::ChecksumKind};

/// Most bytes of a PROPFIND's answer about one file.
const PROPERTIES_MAX_BYTES: usize = 64 << 10;

const PROPERTIES: &[u8] = b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\
<D:propfind xmlns:D=\"DAV:\"><D:prop><D:getcontentlength/><D:resourcetype/></D:prop></D:propfind>";

/// A file as a storage describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    pub(crate) size: Option<ByteCount>,
    pub(crate) checksums: Vec<Checksum>,
}

impl Found {
    /// Returns its checksum of a kind.
    pub(crate) fn checksum(&self, kind: ChecksumKind) -> Option<&Checksum> {
        self.checksums
            .iter()
            .find(|it| ChecksumKind::of(it) == kind)
    }
}

impl Session<'_> {
    /// Asks about a file, also for its checksum of a kind.
    pub(crate) fn look(&self, place: &Place, kind: ChecksumKind) -> Result<Found, TransferError> {
        let wanted = [digest::wanted(kind)];
        let head = |headers| {
            let ask = Ask {
                headers,
                ..Ask::plain("HEAD", Activity::Download)
            };
            self.ask(place, ask)
        };
        let mut answer = head(&wanted)?;
        if matches!(answer.status, 500 | 501) {
            // XRootD says so of the checksum of a missing file, and others of those they cannot
            // compute.
            answer.drain();
            answer = head(&[])?;
        }
        let found = match answer.status {
            200..=299 => Found {
                size: answer.content_length().map(ByteCount::from_bytes),
                checksums: digest::told(&answer),
            },
            // Some storages take no HEAD, and some want other rights for it.
            400 | 403 | 405 | 501 => Found::default(),
            _ => return Err(self.refused(place, answer, Action::Read)),
        };
        let status = answer.status;
        answer.drain();
        if found.size.is_some() {
            return Ok(found);
        }
        match self.properties(place) {
            Ok(size) => Ok(Found { size, ..found }),
            Err(_) if (200..300).contains(&status) => Ok(found),
            Err(error) => Err(error),
        }
    }

    /// Asks for a file's size by PROPFIND.
    fn properties(&self, place: &Place) -> Result<Option<ByteCount>, TransferError> {
        let mut answer = self.propfind(place)?;
        if answer.status != 207 {
            return Err(self.refused(place, answer, Action::Read));
        }
        let text = answer.text(PROPERTIES_MAX_BYTES);
        if is_collection(&text) {
            return Err(self.error(place, Cause::NotAFile));
        }
        let size = element(&text, "getcontentlength").and_then(|it| it.trim().parse().ok());
        Ok(size.map(ByteCount::from_bytes))
    }

    /// Says whether a directory is there.
    pub(crate) fn is_directory(&self, place: &Place) -> Result<bool, TransferError> {
        let mut answer = self.propfind(place)?;
        match answer.status {
            207 => Ok(is_collection(&answer.text(PROPERTIES_MAX_BYTES))),
            404 | 409 | 410 => {
                answer.drain();
                Ok(false)
            }
            _ => Err(self.refused(place, answer, Action::Read)),
        }
    }

    fn propfind(&self, place: &Place) -> Result<Answer, TransferError> {
        let ask = Ask {
            headers: &[("Depth", "0"), ("Content-Type", "application/xml")],
            content: Body::Bytes(PROPERTIES),
            ..Ask::plain("PROPFIND", Activity::Download)
        };
        self.ask(place, ask)
    }
}

/// Says whether properties are those of a directory. `iscollection` is what `XRootD` adds.
fn is_collection(xml: &str) -> bool {
    let kind = element(xml, "resourcetype").unwrap_or_default();
    kind.split(['<', '>', '/', ' ', ':'])
        .any(|it| it == "collection")
        || element(xml, "iscollection").is_some_and(|it| it.trim() == "1")
}

/// Returns what stands in the first element of a name, whatever its namespace is called. Properties
/// are flat, so the next end of the same name is its end.
fn element<'xml>(xml: &'xml str, name: &str) -> Option<&'xml str> {
    let mut rest = xml;
    loop {
        let start = rest.find('<')?;
        rest = &rest[start + 1..];
        let end = rest.find('>')?;
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        let full_name = tag.split([' ', '\t', '\r', '\n', '/']).next()?;
        if full_name.rsplit(':').next() == Some(name) && !tag.starts_with('/') {
            if tag.ends_with('/') {
                return Some("");
            }
            let close = format!("</{full_name}");
            return after.find(&close).map(|end| &after[..end]);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn properties_of_real_servers_are_read() {
        let xrootd = "<D:multistatus xmlns:D=\"DAV:\"><D:response><D:prop>\n\
            <lp1:getcontentlength>100000</lp1:getcontentlength>\n\
            <lp1:iscollection>0</lp1:iscollection></D:prop>";
        assert_eq!(element(xrootd, "getcontentlength"), Some("100000"));
        assert!(!is_collection(xrootd));
        let apache = "<D:prop><lp1:resourcetype><D:collection/></lp1:resourcetype>\n\
            <D:getcontenttype>httpd/unix-directory</D:getcontenttype></D:prop>";
        assert!(is_collection(apache));
        assert_eq!(element(apache, "getcontentlength"), None);
        let file = "<D:prop><lp1:resourcetype/><lp1:getcontentlength>5</lp1:getcontentlength>";
        assert!(!is_collection(file));
        assert!(is_collection("<a:iscollection>1</a:iscollection>"));
    }

    proptest! {
        #[test]
        fn any_text_can_be_looked_through(text in "[<>/a-c :\\PC]{0,200}") {
            let _ = (element(&text, "a"), is_collection(&text));
        }
    }
}

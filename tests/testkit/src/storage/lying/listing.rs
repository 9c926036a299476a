//! PROPFIND: what is there, how long it is, and what is a collection.

use super::{State, path::encode, service::Outcome};
use crate::http::Request;

/// Answers for a file or a collection, with its members unless `Depth` is 0.
pub(super) fn answer(state: &State, request: &Request, path: &str) -> Outcome {
    let below = format!("{}/", path.trim_end_matches('/'));
    let is_collection =
        state.collections.contains(path) || state.files.keys().any(|file| file.starts_with(&below));
    if !is_collection && !state.files.contains_key(path) {
        return Outcome::new(404, "not found");
    }
    let is_deep = request.header("Depth") != Some("0");
    let is_member = |it: &str| {
        let name = it.strip_prefix(&below).unwrap_or_default();
        is_deep && !name.is_empty() && !name.contains('/')
    };
    let mut text = String::from("<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\">");
    for (file, content) in &state.files {
        if file == path || is_member(file) {
            let length = content.len();
            let what =
                format!("<D:resourcetype/><D:getcontentlength>{length}</D:getcontentlength>");
            text.push_str(&response(file, &what));
        }
    }
    let mut collections: Vec<&str> = state.collections.iter().map(String::as_str).collect();
    if is_collection && !state.collections.contains(path) {
        collections.push(path);
    }
    for collection in collections {
        if collection == path || is_member(collection) {
            let what = "<D:resourcetype><D:collection/></D:resourcetype>";
            text.push_str(&response(collection, what));
        }
    }
    text.push_str("</D:multistatus>");
    Outcome::new(207, text).with("Content-Type", "application/xml")
}

fn response(path: &str, what: &str) -> String {
    let status = "<D:status>HTTP/1.1 200 OK</D:status>";
    format!(
        "<D:response><D:href>{}</D:href><D:propstat><D:prop>{what}</D:prop>{status}\
         </D:propstat></D:response>",
        encode(path)
    )
}

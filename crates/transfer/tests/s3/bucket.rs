//! An object store in the test's own process: what S3 does with objects and parts, and what a test
//! tells it to do instead.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ailurus_testkit::{
    http::{Answer, Reply, Request},
    stand_in::{Entrance, HttpStandIn},
};
use md5::{Digest as _, Md5};

/// Something that the store does instead of what it should.
pub(super) type Habit = dyn Fn(&Request, &mut Objects) -> Option<Option<Answer>> + Send + Sync;

/// A running store.
pub(super) struct Bucket {
    stand_in: HttpStandIn,
    objects: Arc<Mutex<Objects>>,
}

/// What is stored, by path.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) whole: BTreeMap<String, Vec<u8>>,
    tags: BTreeMap<String, String>,
    /// Parts of uploads that are not complete.
    pub(super) parts: BTreeMap<u32, Vec<u8>>,
    pub(super) is_begun: bool,
}

impl Bucket {
    pub(super) fn start() -> Self {
        Self::with(|_, _| None)
    }

    /// Starts a store with a habit: what it answers instead, `None` within for hanging up.
    pub(super) fn with<F>(habit: F) -> Self
    where
        F: Fn(&Request, &mut Objects) -> Option<Option<Answer>> + Send + Sync + 'static,
    {
        let objects = Arc::new(Mutex::new(Objects::default()));
        let shared = Arc::clone(&objects);
        let habit: Box<Habit> = Box::new(habit);
        let stand_in = HttpStandIn::start_at(Entrance::default(), move |request| {
            let mut objects = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = match habit(request, &mut objects) {
                Some(instead) => instead,
                None => Some(objects.answer(request)),
            };
            let Some(mut answer) = answer else {
                return Reply::HangUp;
            };
            if !request.head.starts_with("HEAD") {
                return Reply::Whole(answer);
            }
            // The length is that of the body which does not come.
            let length = std::mem::take(&mut answer.body).len();
            Reply::Raw(answer.to_bytes_claiming(length))
        });
        Self {
            stand_in: stand_in.expect("a port"),
            objects,
        }
    }

    pub(super) fn url(&self, key: &str) -> String {
        format!("{}/bucket/{key}", self.stand_in.url())
    }

    pub(super) fn endpoint(&self) -> String {
        self.stand_in.url()
    }

    pub(super) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests came with this method and a target that has this text.
    pub(super) fn n_requests(&self, method: &str, text: &str) -> usize {
        let requests = self.stand_in.requests();
        let is_it = |request: &&Request| {
            request.head.starts_with(method) && request.target().contains(text)
        };
        requests.iter().filter(is_it).count()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.stand_in.requests()
    }
}

impl Objects {
    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request.target().split_once('?').unwrap_or_default();
        let query: BTreeMap<&str, &str> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        let method = request.head.split(' ').next().unwrap_or_default();
        match (method, query.get("partNumber"), query.get("uploadId")) {
            ("POST", None, None) => {
                self.is_begun = true;
                Answer::new(200, "<A><UploadId>up&amp;1</UploadId></A>")
            }
            (_, _, Some(_)) if !self.is_begun => refusal(404, "NoSuchUpload"),
            ("PUT", Some(nr), Some(&"up%261")) => {
                self.parts
                    .insert(nr.parse().expect("a number"), request.body.clone());
                Answer::new(200, "").with_header("ETag", tag(&request.body))
            }
            ("POST", None, Some(_)) => self.complete(path),
            ("DELETE", None, Some(_)) => {
                self.parts.clear();
                self.is_begun = false;
                Answer::new(204, "")
            }
            ("PUT", None, None) => {
                self.whole.insert(path.to_owned(), request.body.clone());
                self.tags.insert(path.to_owned(), tag(&request.body));
                Answer::new(200, "").with_header("ETag", tag(&request.body))
            }
            ("DELETE", None, None) => {
                self.whole.remove(path);
                Answer::new(204, "")
            }
            ("GET" | "HEAD", None, None) => self.get(path),
            _ => refusal(400, "InvalidRequest"),
        }
    }

    pub(super) fn complete(&mut self, path: &str) -> Answer {
        let sums: Vec<u8> = self.parts.values().flat_map(Md5::digest).collect();
        let tag = tag(&sums).replace('"', "");
        let content = std::mem::take(&mut self.parts)
            .into_values()
            .collect::<Vec<_>>();
        self.tags
            .insert(path.to_owned(), format!("\"{tag}-{}\"", content.len()));
        self.whole.insert(path.to_owned(), content.concat());
        self.is_begun = false;
        Answer::new(200, "<CompleteMultipartUploadResult/>")
    }

    fn get(&self, path: &str) -> Answer {
        let Some(content) = self.whole.get(path) else {
            return refusal(404, "NoSuchKey");
        };
        let tag = self.tags.get(path).cloned().unwrap_or_default();
        Answer::new(200, content.clone()).with_header("ETag", tag)
    }
}

pub(super) fn refusal(status: u16, code: &str) -> Answer {
    let xml = format!("<Error><Code>{code}</Code><Message>no: {code}</Message></Error>");
    Answer::new(status, xml)
}

fn tag(bytes: &[u8]) -> String {
    let sum = Md5::digest(bytes);
    let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

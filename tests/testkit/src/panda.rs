//! A PanDA server for one pilot: honest and strict, or as bad as the world can be.
//!
//! [`PandaStandIn`] speaks both dialects, or one of them; gives jobs, queue data and scripts; and
//! checks each call against the reference: path, headers, every field, the order of a job's
//! states. What is wrong is in [`PandaStandIn::violations`], which a test asserts to be empty. A
//! test may script what becomes of each call: see [`Misdeed`].
//!
//! It knows nothing of brokerage or tasks: jobs are given in the order in which they were offered.

mod answer;
mod call;
mod check;
mod life;
mod misdeed;
pub mod sample;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::{Value, json};

use self::{
    answer::Content,
    check::Fields,
    life::{Fate, Lives},
};
pub use self::{answer::form_text, call::Call, life::Update, misdeed::Misdeed};
use crate::{
    http::{Answer, Reply, Request},
    stand_in::{Door, Entrance, HttpStandIn},
    wait::wait_for,
};

/// How long a server tries to get its address back.
const RETURN_LIMIT: Duration = Duration::from_secs(10);

/// How a call is worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// `/server/panda/*`.
    Legacy,
    /// `/api/v1/*`.
    V1,
}

/// Which dialects a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaks {
    /// Both, as servers did until May 2026.
    #[default]
    Both,
    /// v1, as servers since.
    V1Only,
    /// The legacy dialect, as old servers.
    LegacyOnly,
}

impl Speaks {
    const fn has(self, dialect: Dialect) -> bool {
        match (self, dialect) {
            (Self::Both, Dialect::Legacy | Dialect::V1)
            | (Self::V1Only, Dialect::V1)
            | (Self::LegacyOnly, Dialect::Legacy) => true,
            (Self::V1Only, Dialect::Legacy) | (Self::LegacyOnly, Dialect::V1) => false,
        }
    }
}

/// A bearer token that every call must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub token: String,
    /// The role, `<vo>.<role>`.
    pub origin: String,
}

/// What a stand-in is to be.
#[derive(Clone, Default)]
pub struct PandaSettings {
    /// Its dialects.
    pub speaks: Speaks,
    /// Makes it an HTTPS server; with client certificates if the door wants them.
    pub door: Option<Arc<dyn Door>>,
    /// The token that calls must carry.
    pub token: Option<Token>,
}

/// One request that reached the server.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Which call it is; none for files and for what no server has.
    pub call: Option<(Call, Dialect)>,
    /// Method, path and query.
    pub target: String,
    /// The fields, an empty object if there are none.
    pub fields: Value,
    /// The certificate by which the pilot proved itself.
    pub certificate: Option<Vec<u8>>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

/// A PanDA server. It ends with this value.
pub struct PandaStandIn {
    books: Arc<Mutex<Books>>,
    door: Option<Arc<dyn Door>>,
    server: Option<HttpStandIn>,
    address: SocketAddr,
}

/// What the server knows.
struct Books {
    speaks: Speaks,
    token: Option<Token>,
    jobs: VecDeque<Value>,
    files: BTreeMap<String, Vec<u8>>,
    lives: Lives,
    updates: Vec<Update>,
    heard: Vec<Heard>,
    violations: Vec<String>,
    /// What becomes of the next calls, and of all after these.
    scripts: BTreeMap<Call, VecDeque<Misdeed>>,
    habits: BTreeMap<Call, Misdeed>,
    file_scripts: BTreeMap<String, VecDeque<Misdeed>>,
    file_habits: BTreeMap<String, Misdeed>,
    /// The token that `get_access_token` hands out.
    new_token: Option<String>,
    /// Tokens that were handed out.
    given_tokens: Vec<String>,
    phases: Vec<String>,
}

impl PandaStandIn {
    /// Starts a server on a free port of loopback.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn start(settings: PandaSettings) -> anyhow::Result<Self> {
        let books = Arc::new(Mutex::new(Books {
            speaks: settings.speaks,
            token: settings.token,
            jobs: VecDeque::new(),
            files: BTreeMap::new(),
            lives: Lives::default(),
            updates: Vec::new(),
            heard: Vec::new(),
            violations: Vec::new(),
            scripts: BTreeMap::new(),
            habits: BTreeMap::new(),
            file_scripts: BTreeMap::new(),
            file_habits: BTreeMap::new(),
            new_token: None,
            given_tokens: Vec::new(),
            phases: Vec::new(),
        }));
        let server = listen(&books, settings.door.clone(), None)?;
        Ok(Self {
            address: server.address(),
            server: Some(server),
            door: settings.door,
            books,
        })
    }

    /// Returns the server's URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.door.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Offers a job: it is given to the next pilot that asks.
    pub fn offer(&self, job: Value) {
        self.books().jobs.push_back(job);
    }

    /// Returns how many jobs nobody has asked for yet.
    #[must_use]
    pub fn jobs_left(&self) -> usize {
        self.books().jobs.len()
    }

    /// Notes that a pilot has this job from elsewhere.
    pub fn know(&self, job: &Value) {
        self.books().lives.give(job);
    }

    /// Serves a file.
    pub fn serve(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.books().files.insert(path.to_owned(), content.into());
    }

    /// Says what becomes of the next calls of this kind, one after the other.
    pub fn misbehave(&self, call: Call, misdeeds: impl IntoIterator<Item = Misdeed>) {
        let misdeeds = misdeeds.into_iter().inspect(Misdeed::prepare);
        let misdeeds: Vec<Misdeed> = misdeeds.collect();
        let mut books = self.books();
        books.scripts.entry(call).or_default().extend(misdeeds);
    }

    /// Says what becomes of all calls of this kind for which nothing else is said.
    pub fn always(&self, call: Call, misdeed: Misdeed) {
        misdeed.prepare();
        self.books().habits.insert(call, misdeed);
    }

    /// Says what becomes of the next requests for a file.
    pub fn misbehave_at(&self, path: &str, misdeeds: impl IntoIterator<Item = Misdeed>) {
        let misdeeds = misdeeds.into_iter().inspect(Misdeed::prepare);
        let misdeeds: Vec<Misdeed> = misdeeds.collect();
        let mut books = self.books();
        let script = books.file_scripts.entry(path.to_owned()).or_default();
        script.extend(misdeeds);
    }

    /// Says what becomes of all requests for a file for which nothing else is said.
    pub fn always_at(&self, path: &str, misdeed: Misdeed) {
        misdeed.prepare();
        self.books().file_habits.insert(path.to_owned(), misdeed);
    }

    /// Sets the token that pilots get when they renew theirs; from then on it is right too.
    pub fn renew_token_to(&self, token: &str) {
        self.books().new_token = Some(token.to_owned());
    }

    /// Goes away: connections break, new ones are refused.
    pub fn go_away(&mut self) {
        self.server = None;
        self.books().lives.on_lost_all();
    }

    /// Comes back at the same address.
    ///
    /// # Errors
    ///
    /// Somebody else has the address meanwhile.
    pub fn come_back(&mut self) -> anyhow::Result<()> {
        let server = wait_for("the server's return", RETURN_LIMIT, || {
            Ok(listen(&self.books, self.door.clone(), Some(self.address)).ok())
        })?;
        self.server = Some(server);
        Ok(())
    }

    /// Returns what was wrong with the calls so far, one sentence each.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.books().violations.clone()
    }

    /// Returns all updates that came, in their order.
    #[must_use]
    pub fn updates(&self) -> Vec<Update> {
        self.books().updates.clone()
    }

    /// Returns the updates of a job that the server acted on.
    #[must_use]
    pub fn taken(&self, panda_id: u64) -> Vec<Update> {
        let mut updates = self.updates();
        updates.retain(|update| update.is_taken && update.panda_id == panda_id);
        updates
    }

    /// Returns the states of a job in the order in which the server took them.
    #[must_use]
    pub fn states(&self, panda_id: u64) -> Vec<String> {
        let taken = self.taken(panda_id).into_iter();
        taken.map(|update| update.status).collect()
    }

    /// Returns the last word on a job.
    #[must_use]
    pub fn end_of(&self, panda_id: u64) -> Option<Update> {
        self.taken(panda_id).into_iter().rfind(Update::is_final)
    }

    /// Returns all requests that came, in their order.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.books().heard.clone()
    }

    /// Returns how often a call was made in a dialect.
    #[must_use]
    pub fn count(&self, call: Call, dialect: Dialect) -> usize {
        let books = self.books();
        let calls = books
            .heard
            .iter()
            .filter(|it| it.call == Some((call, dialect)));
        calls.count()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(
    books: &Arc<Mutex<Books>>,
    door: Option<Arc<dyn Door>>,
    address: Option<SocketAddr>,
) -> anyhow::Result<HttpStandIn> {
    let books = Arc::clone(books);
    HttpStandIn::start_at(Entrance { address, door }, move |request| {
        let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
        books.reply(request)
    })
    .context("the stand-in of the PanDA server")
}

impl Books {
    fn reply(&mut self, request: &Request) -> Reply {
        let target = request.target();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let mut found = Vec::new();
        check::check_agent(request, &mut found);
        let call = call_of(&path);
        let mut heard = Heard {
            call,
            target: request.method_and_target().to_owned(),
            fields: json!({}),
            certificate: request.certificate.clone(),
            authorization: request.header("authorization").map(str::to_owned),
        };
        let reply = match call {
            Some((call, dialect)) if self.speaks.has(dialect) => {
                let (fields, reply) = self.on_call(call, dialect, request, &mut found);
                heard.fields = Value::Object(fields);
                reply
            }
            // How a pilot learns the dialect.
            Some((_, Dialect::V1)) => Reply::Whole(Answer::new(404, "Not Found")),
            Some((_, Dialect::Legacy)) => forbidden(&path),
            None => self.on_file(&path, request, &mut found),
        };
        self.heard.push(heard);
        let target = request.method_and_target();
        let found = found.into_iter().map(|it| format!("{target}: {it}"));
        self.violations.extend(found);
        reply
    }

    fn on_call(
        &mut self,
        call: Call,
        dialect: Dialect,
        request: &Request,
        found: &mut Vec<String>,
    ) -> (Fields, Reply) {
        let form = call.form(dialect).expect("the call was found by it");
        let method = request.method_and_target().split(' ').next();
        if method != Some(form.method) {
            found.push(format!("the method must be {}", form.method));
        }
        let fields = check::fields_of(dialect, form.method, request, found);
        if let Some(token) = &self.token
            && !check::check_token(request, token, &self.given_tokens, found)
        {
            return (fields, Reply::Whole(Answer::new(403, "no permission")));
        }
        check::check_fields(call, dialect, &fields, found);
        let misdeed = self.next_misdeed(call);
        let content = self.act(call, (dialect, &fields), &misdeed, found);
        let honest = answer::write(call, dialect, request, &content);
        (fields, misdeed.reply(honest))
    }

    fn next_misdeed(&mut self, call: Call) -> Misdeed {
        let script = self.scripts.get_mut(&call);
        let next = script.and_then(VecDeque::pop_front);
        next.or_else(|| self.habits.get(&call).cloned())
            .unwrap_or(Misdeed::Honest)
    }

    /// Does what the call asks for, unless the misdeed is that it does not.
    fn act(
        &mut self,
        call: Call,
        (dialect, fields): (Dialect, &Fields),
        misdeed: &Misdeed,
        found: &mut Vec<String>,
    ) -> Content {
        if call == Call::UpdateJob {
            self.note_update(dialect, fields, misdeed, found);
        }
        let updates = fields.get("job_list").and_then(Value::as_array);
        let updates = updates.into_iter().flatten().filter_map(Value::as_object);
        for update in updates.clone() {
            check::check_fields(Call::UpdateJob, dialect, update, found);
            self.note_update(dialect, update, misdeed, found);
        }
        if let Misdeed::StatusCode(code) = misdeed {
            return Content::Failed(*code);
        }
        if !misdeed.acts() {
            return Content::NoJobs;
        }
        match call {
            Call::AcquireJobs => self.give_jobs(dialect, fields, found),
            Call::UpdateJob => Content::Done(match (misdeed, dialect) {
                (Misdeed::Command(text), _) => json!({"command": text}),
                (_, Dialect::V1) => json!({"command": null}),
                (_, Dialect::Legacy) => json!({"command": "NULL"}),
            }),
            Call::UpdateJobsBulk => {
                let data = json!({"StatusCode": 0, "command": misdeed.command()});
                let one = json!({"success": true, "message": "", "data": data});
                Content::Done(updates.map(|_| one.clone()).collect())
            }
            Call::WorkerStatus => {
                self.note_phase(dialect, fields, found);
                Content::Done(json!({}))
            }
            Call::AccessToken => self.give_token(),
            Call::ResourceTypes if dialect == Dialect::V1 => Content::Done(resource_types()),
            Call::ResourceTypes => {
                Content::Done(json!({"ResourceTypes": resource_types().to_string()}))
            }
            Call::KeyPair => Content::Done(json!({"publicKey": "p", "privateKey": "q"})),
            Call::Proxy => Content::Failed(90),
            Call::UserSecrets => Content::Done(json!([true, {}])),
            Call::WorkerNode | Call::WorkerNodeGpu | Call::DebugMode => Content::Done(json!({})),
        }
    }

    fn note_update(
        &mut self,
        dialect: Dialect,
        fields: &Fields,
        misdeed: &Misdeed,
        found: &mut Vec<String>,
    ) {
        expect_value(fields, ["site_name", "siteName"], sample::RESOURCE, found);
        let fate = Fate {
            is_taken: misdeed.acts(),
            is_clear: misdeed.is_clear(),
            command: misdeed.command(),
        };
        let update = self.lives.on_update(dialect, fields, &fate, found);
        self.updates.extend(update);
    }

    fn give_jobs(&mut self, dialect: Dialect, fields: &Fields, found: &mut Vec<String>) -> Content {
        expect_value(fields, ["site_name", "siteName"], sample::RESOURCE, found);
        let element = ["computing_element", "computingElement"];
        expect_value(fields, element, sample::QUEUE, found);
        let wanted = match dialect {
            Dialect::V1 => fields.get("n_jobs"),
            Dialect::Legacy => fields.get("nJobs"),
        };
        let wanted = wanted.and_then(Value::as_u64).unwrap_or(1);
        let wanted = usize::try_from(wanted).unwrap_or(1).min(self.jobs.len());
        let jobs: Vec<Value> = self.jobs.drain(..wanted).collect();
        for job in &jobs {
            self.lives.give(job);
        }
        if jobs.is_empty() {
            Content::NoJobs
        } else {
            Content::Jobs(jobs)
        }
    }

    fn note_phase(&mut self, dialect: Dialect, fields: &Fields, found: &mut Vec<String>) {
        if dialect == Dialect::Legacy {
            // Its name says otherwise, but Pilot 3 sends the queue.
            expect_value(fields, ["site"; 2], sample::QUEUE, found);
        }
        let phase = fields.get("status").and_then(Value::as_str);
        let phase = phase.unwrap_or_default().to_owned();
        match (self.phases.last().map(String::as_str), phase.as_str()) {
            (None, "started") | (Some("started"), "finished") => {}
            (last, phase) => found.push(format!("the worker is `{phase}` after {last:?}")),
        }
        self.phases.push(phase);
    }

    fn give_token(&mut self) -> Content {
        match &self.new_token {
            Some(new) => {
                self.given_tokens.push(new.clone());
                Content::Token(new.clone())
            }
            None => Content::Failed(30),
        }
    }

    fn on_file(&mut self, path: &str, request: &Request, found: &mut Vec<String>) -> Reply {
        let content = self.files.get(path).cloned();
        let script = self.file_scripts.get_mut(path);
        let next = script.and_then(VecDeque::pop_front);
        let misdeed = next
            .or_else(|| self.file_habits.get(path).cloned())
            .unwrap_or(Misdeed::Honest);
        match content {
            Some(content) if request.method_and_target().starts_with("GET ") => {
                misdeed.reply(Answer::new(200, content))
            }
            _ if path.starts_with("/server/panda/") => {
                found.push("no server has this call".to_owned());
                forbidden(path)
            }
            _ if path.starts_with("/api/") => {
                found.push("no server has this call".to_owned());
                Reply::Whole(Answer::new(404, "Not Found"))
            }
            _ => Reply::Whole(Answer::new(404, "Not Found")),
        }
    }
}

fn call_of(path: &str) -> Option<(Call, Dialect)> {
    let forms = Call::ALL
        .into_iter()
        .flat_map(|call| [(call, Dialect::V1), (call, Dialect::Legacy)]);
    forms
        .into_iter()
        .find(|(call, dialect)| call.form(*dialect).is_some_and(|form| form.path == path))
}

/// What servers say since May 2026.
fn forbidden(path: &str) -> Reply {
    let method = path.rsplit('/').next().unwrap_or_default();
    let text = format!("ERROR : method {method} is forbidden");
    Reply::Whole(Answer::new(403, text))
}

fn expect_value(fields: &Fields, names: [&str; 2], wanted: &str, found: &mut Vec<String>) {
    let [v1, legacy] = names;
    let value = fields.get(v1).or_else(|| fields.get(legacy));
    if let Some(value) = value
        && value != wanted
    {
        found.push(format!("field `{v1}` is {value}: it must be \"{wanted}\""));
    }
}

fn resource_types() -> Value {
    json!([
        {"resource_name": "SCORE", "mincore": 1, "maxcore": 1, "minrampercore": null,
            "maxrampercore": 2000},
        {"resource_name": "MCORE", "mincore": 2, "maxcore": null, "minrampercore": null,
            "maxrampercore": 2000},
    ])
}

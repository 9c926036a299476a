//! PanDA's HTTP API in both dialects: the frame around each call.
//!
//! The frame finds the call in the table, checks who calls and what they say, has the call's
//! handler answer, and writes the answer in the form that the client asked for. Each module of
//! calls has its rows and its handlers in a file of its own; the table is all rows together.
//! Handlers decode with `wire`, decide with `server-core`, and act through [`App`].

mod absent;
mod call;
mod creds;
mod endpoint;
mod event;
mod file_server;
mod harvester;
mod job;
mod metaconfig;
mod nodes;
pub(crate) mod openapi;
mod own_jobs;
mod pilot;
mod reply;
mod rights;
pub(crate) mod statistics;
mod system;
mod task;
mod upload;
mod validate;
mod whoami;
mod workflow;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use ailurus_model::Caller;
use ailurus_wire::{
    Dialect, Fields,
    body::{self, BodyError},
};
use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode as HttpStatus, header},
    response::Response,
};

use crate::{
    app::App,
    caller::{Peer, Way},
    knowledge::chain,
    metrics::CallName,
};

pub(crate) use call::Call;
pub(crate) use endpoint::Endpoint;
pub(crate) use reply::{Reply, failed};

use reply::{Wanted, error, text_of};
use rights::check_owner;
use upload::Upload;
use validate::{Written, check_caller, check_fields, check_verb, missing};

/// The rows of all modules.
const MODULES: &[&[Endpoint]] = &[
    absent::ENDPOINTS,
    creds::ENDPOINTS,
    event::ENDPOINTS,
    file_server::ENDPOINTS,
    harvester::ENDPOINTS,
    job::ENDPOINTS,
    metaconfig::ENDPOINTS,
    nodes::ENDPOINTS,
    pilot::ENDPOINTS,
    statistics::ENDPOINTS,
    system::ENDPOINTS,
    whoami::ENDPOINTS,
    task::ENDPOINTS,
    task::change::ENDPOINTS,
    task::steer::ENDPOINTS,
    workflow::ENDPOINTS,
];

/// How much of a refused request's body is still read, in bytes, so that the client reads the
/// refusal and does not see a broken connection.
const DRAINED_MAX: usize = 1 << 20;

/// Where calls of the legacy dialect are.
const LEGACY_PREFIX: &str = "/server/panda/";
/// Where calls of v1 are.
const V1_PREFIX: &str = "/api/v1/";

/// All calls by their name, made once.
static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// The calls of both dialects by name.
struct Table {
    legacy: BTreeMap<&'static str, &'static Endpoint>,
    v1: BTreeMap<&'static str, &'static Endpoint>,
}

impl Table {
    fn new() -> Self {
        let of = |dialect| {
            endpoints()
                .filter(move |endpoint| endpoint.dialect == dialect)
                .map(|endpoint| (endpoint.name, endpoint))
                .collect()
        };
        Self {
            legacy: of(Dialect::Legacy),
            v1: of(Dialect::V1),
        }
    }
}

/// Lists all calls.
pub(crate) fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    MODULES.iter().flat_map(|rows| rows.iter())
}

/// Finds the call that a path names.
fn find(path: &str) -> Option<&'static Endpoint> {
    if let Some(name) = path.strip_prefix(LEGACY_PREFIX) {
        return TABLE.legacy.get(name).copied();
    }
    TABLE.v1.get(path.strip_prefix(V1_PREFIX)?).copied()
}

/// Says whether a path names a call that takes a file, which may take its time.
pub(crate) fn takes_file(path: &str) -> bool {
    find(path).is_some_and(|endpoint| endpoint.file_max.is_some())
}

/// Answers every path of PanDA's shapes, and any other one that nobody answers.
pub(crate) async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path();
    match find(path) {
        Some(endpoint) => {
            let mut response = answer(app, endpoint, request).await;
            response.extensions_mut().insert(CallName(endpoint.name));
            response
        }
        None => {
            let method = path.rsplit('/').next().unwrap_or(path);
            error(
                HttpStatus::FORBIDDEN,
                &format!("method {method} is forbidden"),
            )
        }
    }
}

async fn answer(app: Arc<App>, endpoint: &'static Endpoint, mut request: Request) -> Response {
    let wanted = Wanted::of(request.headers());
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let peer = peer.map(|info| info.0.clone());
    let origin = origin_of(request.headers(), peer.as_ref().map(|peer| &peer.way));
    // Whoever lets requests in says whose they are.
    let caller = request.extensions_mut().remove::<Caller>();
    let caller = caller.unwrap_or_else(Caller::nobody);
    let may_call = check_caller(endpoint, &caller)
        .and_then(|()| check_verb(endpoint, request.method().as_str()));
    if let Err(refusal) = may_call {
        // Whether it could be read makes no difference to the answer.
        drop(axum::body::to_bytes(request.into_body(), DRAINED_MAX).await);
        return wanted.write(refusal);
    }
    let peer = peer.map(|peer| peer.address.ip());
    let said = match read(&app, endpoint, request).await {
        Ok(said) => said,
        Err(refusal) => return refusal,
    };
    let fields = match check_fields(endpoint, said.fields, said.written) {
        Ok(fields) => fields,
        Err(refusal) => return wanted.write(refusal),
    };
    if said.upload.is_none() && endpoint.file_max.is_some() {
        return wanted.write(Reply::refusal(missing("file")));
    }
    let call = Call {
        app,
        dialect: endpoint.dialect,
        caller,
        peer,
        fields,
        origin,
        upload: said.upload,
    };
    if let Err(refusal) = check_owner(&call, endpoint.role).await {
        return wanted.write(refusal);
    }
    wanted.write((endpoint.handler)(call).await)
}

/// Returns how the client reached the server: over its own TLS, or as a proxy before it says.
pub(crate) fn origin_of(headers: &HeaderMap, way: Option<&Way>) -> String {
    let host = text_of(headers, header::HOST).unwrap_or("localhost");
    let forwarded = header::HeaderName::from_static("x-forwarded-proto");
    let scheme = match way {
        Some(Way::Tls(_)) => "https",
        Some(Way::Plain) | None => text_of(headers, forwarded)
            .filter(|scheme| matches!(*scheme, "http" | "https"))
            .unwrap_or("http"),
    };
    format!("{scheme}://{host}")
}

/// What a request says.
struct Said {
    fields: Fields,
    written: Written,
    upload: Option<Upload>,
}

/// Reads what a request says: the query for GET, else the body.
async fn read(app: &App, endpoint: &Endpoint, request: Request) -> Result<Said, Response> {
    if request.method() == Method::GET {
        let query = request.uri().query().unwrap_or_default();
        return Ok(Said {
            fields: match endpoint.dialect {
                Dialect::Legacy => body::decode_form(query.as_bytes()),
                Dialect::V1 => body::decode_query(query),
            },
            written: Written::AsText,
            upload: None,
        });
    }
    if upload::is_multipart(&request) {
        let limit = endpoint.file_max.unwrap_or(|_| 0);
        let (fields, upload) = upload::read_multipart(request, &app.uploads, limit).await?;
        return Ok(Said {
            fields,
            written: Written::AsText,
            upload,
        });
    }
    let (head, body) = request.into_parts();
    let bytes = read_body(&head.headers, body, app.body_limit).await?;
    let content_type = text_of(&head.headers, header::CONTENT_TYPE);
    let fields = body::decode_request(content_type, &bytes).map_err(|cause| {
        let status = match cause {
            BodyError::TooLarge => HttpStatus::PAYLOAD_TOO_LARGE,
            BodyError::Compressed(_) | BodyError::Json(_) | BodyError::NotAnObject => {
                HttpStatus::BAD_REQUEST
            }
        };
        error(status, &chain(&cause))
    })?;
    let is_json = content_type.is_some_and(body::is_json_type);
    Ok(Said {
        fields,
        written: if is_json {
            Written::Typed
        } else {
            Written::AsText
        },
        upload: None,
    })
}

/// Reads a body that is no larger than allowed.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<axum::body::Bytes, Response> {
    let too_large = || {
        let reason = format!("body is larger than {limit} bytes");
        error(HttpStatus::PAYLOAD_TOO_LARGE, &reason)
    };
    let announced = text_of(headers, header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if announced.is_some_and(|length: usize| length > limit) {
        return Err(too_large());
    }
    // What is not too large was cut off by the client, who gets no answer anyway.
    axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| too_large())
}

#[cfg(test)]
mod tests {
    use ailurus_wire::{get_job, harvester_call, job_status, system_call, update_bulk, update_job};

    use super::*;
    use crate::panda::endpoint::{Kind, Preset, Role};

    #[test]
    fn the_table_has_the_paths_that_clients_use() {
        let mut paths = vec![
            update_bulk::PATH,
            harvester_call::HEARTBEAT_PATH,
            harvester_call::STATISTICS_PATH,
            harvester_call::COMMANDS_PATH,
            harvester_call::ACKNOWLEDGE_PATH,
            harvester_call::WORKER_ID_PATH,
            system_call::JOB_STATISTICS_PATH,
            ailurus_wire::worker_text::PATH,
        ];
        for dialect in Dialect::ALL {
            paths.extend([
                get_job::path(dialect),
                update_job::path(dialect),
                job_status::path(dialect),
                ailurus_wire::worker_status::path(dialect),
                system_call::is_alive_path(dialect),
            ]);
        }
        for path in paths {
            assert!(find(path).is_some(), "{path}");
        }
    }

    #[test]
    fn every_row_is_there_once_and_says_what_it_does() {
        let rows = TABLE.legacy.len() + TABLE.v1.len();
        assert_eq!(endpoints().count(), rows, "two rows have one name");
        for endpoint in endpoints() {
            let name = endpoint.name;
            assert!(endpoint.doc.ends_with('.'), "{name}");
            assert_eq!(name.contains('/'), endpoint.dialect == Dialect::V1);
            for parameter in endpoint.parameters {
                let is_file = parameter.kind == Kind::File;
                assert!(!is_file || parameter.name == "file", "{name}");
                if is_file {
                    assert!(endpoint.file_max.is_some(), "{name}");
                    assert_eq!(parameter.default, Preset::Required, "{name}");
                }
            }
            let named = match endpoint.role {
                Role::TaskOwner => "task_id",
                Role::JobOwner => rights::job_field(endpoint.dialect),
                Role::Anyone | Role::Production | Role::Pilot | Role::PilotByText => continue,
            };
            let mut names = endpoint.parameters.iter().map(|parameter| parameter.name);
            assert!(names.any(|parameter| parameter == named), "{name}");
        }
    }
}

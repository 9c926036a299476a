//! What clients must know to get a token: `/auth/VO_auth_config.json`.

use std::sync::Arc;

use ailurus_wire::body::JSON_TYPE;
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::app::App;

/// Returns the routes of this module.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/auth/{file}", get(auth_file))
}

async fn auth_file(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let tokens = app.identities.tokens();
    let found = tokens
        .as_ref()
        .and_then(|tokens| tokens.config().public_file(&name));
    match found {
        Some(bytes) => ([(header::CONTENT_TYPE, JSON_TYPE)], bytes.to_vec()).into_response(),
        None => (StatusCode::NOT_FOUND, format!("no file `{name}`")).into_response(),
    }
}

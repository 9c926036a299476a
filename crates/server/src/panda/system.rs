//! Calls about the server itself.

use ailurus_wire::Dialect;
use serde_json::Value;

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{LegacyBody, handler},
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::legacy("isAlive", LegacyBody::Text, handler!(is_alive))
        .by_client()
        .doc("Says that the server is there: `alive=yes`."),
    Endpoint::get("system/is_alive", handler!(is_alive))
        .by_client()
        .by_harvester()
        .doc("Says that the server is there."),
];

/// Says that the server is there.
async fn is_alive(call: Call) -> Reply {
    match call.dialect {
        Dialect::Legacy => Reply::Text("alive=yes".to_owned()),
        Dialect::V1 => Reply::data(Value::Null),
    }
}

//! Calls that tell callers who they are here: the first thing to look at when a right is missing.
//!
//! Source: panda-server, `pandaserver/api/v1/system_api.py`.

use std::collections::BTreeMap;

use ailurus_model::{Caller, Proof};
use ailurus_wire::fields::text_of;
use serde_json::json;

use crate::panda::{
    Call, Endpoint, Reply,
    endpoint::{Shape, handler},
};

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("system/get_attributes", handler!(attributes))
        .secure()
        .keeps_unknown()
        .gives(Shape::Object(&[
            ("parameters", Shape::Map(&Shape::Text)),
            ("environment", Shape::Map(&Shape::Text)),
        ]))
        .by_client()
        .doc("Repeats any parameters, and tells what is known of the caller in PanDA's names."),
    Endpoint::get("system/get_voms_attributes", handler!(voms_attributes))
        .secure()
        .gives(Shape::Map(&Shape::Text))
        .doc("Tells the caller's VOMS attributes and token roles."),
    Endpoint::get("system/get_user_attributes", handler!(user_attributes))
        .secure()
        .gives(Shape::Object(&[
            ("user_dn_raw", Shape::Text),
            ("user_dn_clean", Shape::Text),
            ("fqans", Shape::List(&Shape::Text)),
            ("is_production_user", Shape::Flag),
            ("production_working_groups", Shape::List(&Shape::Text)),
            ("primary_working_group", Shape::Text),
        ]))
        .doc("Tells the caller's name, compact name and rights."),
];

async fn attributes(call: Call) -> Reply {
    let mut environment = voms(&call.caller);
    environment.insert("SSL_CLIENT_S_DN".to_owned(), call.caller.dn.clone());
    let proof = match call.caller.proof {
        Proof::None => "none",
        Proof::Loopback => "loopback",
        Proof::Certificate => "certificate",
        Proof::LimitedProxy => "limited proxy",
        Proof::Token => "token",
    };
    environment.insert("AILURUS_PROOF".to_owned(), proof.to_owned());
    if let Some(peer) = call.peer {
        environment.insert("REMOTE_ADDR".to_owned(), peer.to_string());
    }
    let said = call.fields.iter();
    let parameters: BTreeMap<String, String> = said
        .map(|(name, value)| (name.to_owned(), text_of(value).into_owned()))
        .collect();
    let shown: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    let text = format!(
        "===== param =====\n{}\n====== env ======\n{}\n",
        shown.join("\n"),
        lines(&environment)
    );
    let data = json!({"parameters": parameters, "environment": environment});
    Reply::data_and_message(data, text)
}

async fn voms_attributes(call: Call) -> Reply {
    let found = voms(&call.caller);
    Reply::data_and_message(json!(found), lines(&found))
}

async fn user_attributes(call: Call) -> Reply {
    let Caller {
        dn,
        name,
        fqans,
        rights,
        ..
    } = &call.caller;
    let data = json!({
        "user_dn_raw": dn,
        "user_dn_clean": name,
        "fqans": fqans,
        "is_production_user": rights.production,
        "production_working_groups": rights.working_groups,
        "primary_working_group": primary_working_group(fqans),
    });
    let named = data.as_object().into_iter().flatten();
    let text: Vec<String> = named
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    Reply::data_and_message(data, text.join("\n"))
}

/// The group of the last production role in a group.
fn primary_working_group(fqans: &[String]) -> Option<String> {
    let groups = fqans.iter().rev().filter_map(|fqan| {
        let mut parts = fqan.split('/').skip(2);
        let group = parts.next()?;
        let role = parts.next()?;
        role.starts_with("Role=production").then_some(group)
    });
    let mut named = groups.filter(|group| !matches!(*group, "" | "usatlas"));
    let last = named.next()?.rsplit('-').next()?;
    Some(last.to_lowercase())
}

/// VOMS attributes in the names of the web server before PanDA.
fn voms(caller: &Caller) -> BTreeMap<String, String> {
    let named = caller.fqans.iter().enumerate();
    named
        .map(|(nr, fqan)| (format!("GRST_CRED_AUTH_TOKEN_{nr}"), format!("VOMS {fqan}")))
        .collect()
}

fn lines(all: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = all
        .iter()
        .map(|(key, value)| format!("{key} : {value}"))
        .collect();
    lines.join("\n")
}

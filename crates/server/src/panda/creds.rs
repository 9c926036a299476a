//! The module `creds`: secrets of people, and credentials for pilots and Harvester.
//!
//! No value of a secret, key, proxy or token ever reaches a log or a message.
//!
//! Source: panda-server, `pandaserver/api/v1/credential_management_api.py`; of 0.8.1 the methods of
//! `pandaserver/jobdispatcher/JobDispatcher.py` and `pandaserver/userinterface/UserIF.py`.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use ailurus_identity::credentials::{proxy_file, token_file};
use ailurus_model::Proof;
use ailurus_server_core::{SecretChange, SecretError, change_secrets, secrets_of};
use ailurus_store::WriteError;
use ailurus_wire::{Answer, Dialect, Fields, StatusCode};
use serde_json::{Value, json};

use crate::{
    panda::{
        Call, Endpoint, Reply,
        endpoint::{LegacyBody, Shape, flag, handler, text, texts},
        failed,
    },
    static_files::within,
};

/// Largest credential that is given, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// The legacy dialect's words for a caller without a name.
const NO_NAME: &str = "Cannot extract DN from proxy. not HTTPS?";

const KEY: crate::panda::endpoint::Parameter = text("key").doc("its name; null for all");
const VALUE: crate::panda::endpoint::Parameter = text("value")
    .doc("its value; null to forget it; of a file in base64, its name after `___file___:`");
const CLIENT: crate::panda::endpoint::Parameter =
    text("client_name").required().doc("for whom the token is");

/// The calls of this module.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::post("creds/set_user_secrets", handler!(set_secret))
        .secure()
        .takes(&[KEY, VALUE])
        .by_client()
        .doc("Keeps a secret of the caller for their payloads, or forgets one or all."),
    Endpoint::get("creds/get_user_secrets", handler!(secrets))
        .secure()
        .takes(&[texts("keys").doc("names; all without them")])
        .gives(Shape::Text)
        .by_client()
        .doc("Gives the caller's secrets as the JSON text of an object."),
    Endpoint::get("creds/get_key_pair", handler!(key_pair))
        .secure()
        .takes(&[
            text("public_key_name")
                .required()
                .doc("name of the public key's file"),
            text("private_key_name")
                .required()
                .doc("name of the private key's file"),
        ])
        .gives(Shape::Object(&[
            ("public_key", Shape::Text),
            ("private_key", Shape::Text),
        ]))
        .by_harvester()
        .doc("Gives a pair of keys to those who may have it."),
    Endpoint::get("creds/get_proxy", handler!(proxy))
        .secure()
        .takes(&[
            text("role").doc("the VOMS role that it must have"),
            text("dn").doc("whose it is; the caller's without it"),
        ])
        .gives(Shape::Object(&[
            ("user_proxy", Shape::Text),
            ("userProxy", Shape::Text),
        ]))
        .by_harvester()
        .doc("Gives somebody's proxy to those who may have it."),
    Endpoint::get("creds/get_access_token", handler!(access_token))
        .secure()
        .takes(&[
            CLIENT,
            text("token_key").doc("the key, where one is needed"),
        ])
        .gives(Shape::Object(&[
            ("user_proxy", Shape::Text),
            ("userProxy", Shape::Text),
        ]))
        .by_harvester()
        .doc("Gives a client's access token to those who may have it."),
    Endpoint::get("creds/get_token_key", handler!(token_key))
        .secure()
        .takes(&[CLIENT])
        .gives(Shape::Object(&[("tokenKey", Shape::Text)]))
        .by_harvester()
        .doc("Gives the newest key for a client's access token to those who may have it."),
    Endpoint::legacy("set_user_secret", LegacyBody::Json, handler!(set_secret))
        .takes(&[KEY, VALUE])
        .by_client()
        .doc("Keeps a secret of the caller for their payloads, or forgets one or all."),
    Endpoint::legacy("get_user_secrets", LegacyBody::Json, handler!(secrets))
        .takes(&[
            text("keys").doc("names with commas between; all without them"),
            flag("get_json").doc("an object instead of its text"),
        ])
        .gives(Shape::Text)
        .by_pilot()
        .doc("Gives the caller's secrets: a list of success and the JSON text of an object."),
    Endpoint::legacy("getKeyPair", LegacyBody::FormOrJson, handler!(key_pair))
        .takes(&[
            text("publicKeyName").doc("name of the public key's file"),
            text("privateKeyName").doc("name of the private key's file"),
        ])
        .gives(Shape::Object(&[
            ("publicKey", Shape::Text),
            ("privateKey", Shape::Text),
        ]))
        .by_pilot()
        .doc("Gives a pair of keys to those who may have it."),
    Endpoint::legacy("getProxy", LegacyBody::Json, handler!(proxy))
        .takes(&[
            text("role").doc("the VOMS role that it must have"),
            text("dn").doc("whose it is; the caller's without it"),
        ])
        .gives(Shape::Object(&[("userProxy", Shape::Text)]))
        .by_pilot()
        .doc("Gives somebody's proxy to those who may have it."),
    Endpoint::legacy("get_access_token", LegacyBody::Json, handler!(access_token))
        .takes(&[
            CLIENT,
            text("token_key").doc("the key, where one is needed"),
        ])
        .gives(Shape::Object(&[("userProxy", Shape::Text)]))
        .by_pilot()
        .doc("Gives a client's access token to those who may have it."),
    Endpoint::legacy("get_token_key", LegacyBody::FormOrJson, handler!(token_key))
        .takes(&[CLIENT])
        .gives(Shape::Object(&[("tokenKey", Shape::Text)]))
        .by_pilot()
        .doc("Gives the newest key for a client's access token to those who may have it."),
];

async fn set_secret(call: Call) -> Reply {
    if let Some(refusal) = nameless(&call) {
        return refusal;
    }
    let change = match (call.text("key"), call.text("value")) {
        (None, _) => SecretChange::ForgetAll,
        (Some(name), None) => SecretChange::Forget { name },
        (Some(name), Some(value)) => SecretChange::Set { name, value },
    };
    let owner = call.caller.name.clone();
    let written = call
        .app
        .write(move |_, ledger| change_secrets(ledger, &owner, &change))
        .await;
    match written {
        Ok(()) => said(call.dialect, true, "OK"),
        Err(WriteError::Operation(
            error @ (SecretError::TooLarge { .. }
            | SecretError::Name { .. }
            | SecretError::TooMany
            | SecretError::TooLargeTogether { .. }),
        )) => said(call.dialect, false, &error.to_string()),
        Err(error) => failed(&error),
    }
}

async fn secrets(call: Call) -> Reply {
    if let Some(refusal) = nameless(&call) {
        return refusal;
    }
    let names = match call.dialect {
        Dialect::V1 => call.texts("keys"),
        Dialect::Legacy => {
            let names = call.text("keys").unwrap_or_default();
            let names = names.split(',').filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        }
    };
    let owner = call.caller.name.clone();
    let read = call
        .app
        .read(move |reader| secrets_of(reader.ledger(), &owner, &names))
        .await;
    let secrets = match read {
        Ok(secrets) => json!(secrets),
        Err(error) => return failed(&error),
    };
    match call.dialect {
        Dialect::V1 => Reply::data(secrets.to_string()),
        Dialect::Legacy if call.flag("get_json") => Reply::Json(json!([true, secrets])),
        Dialect::Legacy => Reply::Json(json!([true, secrets.to_string()])),
    }
}

/// Success or failure with words, as the dialect has them.
fn said(dialect: Dialect, is_done: bool, words: &str) -> Reply {
    match dialect {
        Dialect::Legacy => Reply::Json(json!([is_done, words])),
        Dialect::V1 if is_done => Reply::data_and_message(Value::Null, words),
        Dialect::V1 => Reply::refusal(words),
    }
}

/// Refuses who has no name of their own. In v1, the frame has refused them already.
fn nameless(call: &Call) -> Option<Reply> {
    let is_nobody = call.caller.proof == Proof::None;
    is_nobody.then(|| {
        said(
            call.dialect,
            false,
            "SSL_CLIENT_S_DN is missing in HTTP request",
        )
    })
}

/// Why a credential is not given.
struct Denial {
    status: StatusCode,
    message: String,
}

impl Denial {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message }
    }
}

async fn key_pair(call: Call) -> Reply {
    let (public, private) = match call.dialect {
        Dialect::V1 => ("public_key_name", "private_key_name"),
        Dialect::Legacy => ("publicKeyName", "privateKeyName"),
    };
    let names = [public, private].map(|name| call.text(name).unwrap_or_default());
    let given = match may_have(&call, Credential::KeyPair) {
        Ok(()) => keys_of(&call, names).await,
        Err(denial) => Err(denial),
    };
    match given {
        Ok([public, private]) => answer(
            &call,
            json!({"publicKey": public, "privateKey": private}),
            json!({"public_key": public, "private_key": private,
                "publicKey": public, "privateKey": private}),
        ),
        Err(denial) => deny(&call, denial),
    }
}

async fn keys_of(call: &Call, names: [String; 2]) -> Result<[String; 2], Denial> {
    let folder = &call.app.identities.credentials().key_pairs;
    let mut found = Vec::new();
    for name in names {
        let key = read_in(folder.as_deref(), name.clone()).await;
        let who = &call.caller.name;
        let missing = || {
            let message = format!("failed for '{who}' since {name} is missing");
            Denial::new(StatusCode::MissingKey, message)
        };
        // Pilots write it into one line of a shell.
        let key = key.ok_or_else(missing)?;
        found.push(key.trim_end_matches(['\r', '\n']).to_owned());
    }
    let missing = |_| Denial::new(StatusCode::MissingKey, "a key is missing");
    found.try_into().map_err(missing)
}

async fn proxy(call: Call) -> Reply {
    let role = call.text("role").filter(|role| !role.is_empty());
    let dn = call.text("dn").filter(|dn| !dn.is_empty());
    let dn = dn.unwrap_or_else(|| call.caller.dn.clone());
    let folder = &call.app.identities.credentials().proxies;
    let found = match may_have(&call, Credential::Proxy) {
        Ok(()) => {
            let proxy = read_in(folder.as_deref(), proxy_file(&dn, role.as_deref())).await;
            let missing = || Denial::new(StatusCode::Proxy, format!("proxy not found for {dn}"));
            proxy.ok_or_else(missing)
        }
        Err(denial) => Err(denial),
    };
    give_proxy(&call, found)
}

async fn access_token(call: Call) -> Reply {
    let client = call.text("client_name").unwrap_or_default();
    let found = match may_have(&call, Credential::Token) {
        Ok(()) => token_of(&call, &client).await,
        Err(denial) => Err(denial),
    };
    give_proxy(&call, found)
}

async fn token_of(call: &Call, client: &str) -> Result<String, Denial> {
    let credentials = call.app.identities.credentials();
    if let Some(keys) = read_in(credentials.token_keys.as_deref(), client.to_owned()).await {
        let given = call.text("token_key").unwrap_or_default();
        let mut keys = keys.lines().map(str::trim).filter(|key| !key.is_empty());
        if !keys.any(|key| key == given) {
            let message = format!("failed since token key is invalid for {client}");
            return Err(Denial::new(StatusCode::Invalid, message));
        }
    }
    let token = read_in(credentials.tokens.as_deref(), token_file(client)).await;
    let token = token.map(|token| token.trim().to_owned());
    let missing = || Denial::new(StatusCode::Proxy, format!("token not found for {client}"));
    token.filter(|token| !token.is_empty()).ok_or_else(missing)
}

/// Answers a proxy or token. The legacy dialect always has JSON here.
fn give_proxy(call: &Call, found: Result<String, Denial>) -> Reply {
    match (call.dialect, found) {
        (Dialect::V1, Ok(credential)) => {
            Reply::data(json!({"user_proxy": credential, "userProxy": credential}))
        }
        (Dialect::V1, Err(denial)) => deny(call, denial),
        (Dialect::Legacy, Ok(credential)) => {
            Reply::Json(json!({"StatusCode": 0, "errorDialog": "", "userProxy": credential}))
        }
        (Dialect::Legacy, Err(denial)) => Reply::Json(
            json!({"StatusCode": denial.status.number(), "errorDialog": denial.message}),
        ),
    }
}

async fn token_key(call: Call) -> Reply {
    let client = call.text("client_name").unwrap_or_default();
    let folder = &call.app.identities.credentials().token_keys;
    let found = match may_have(&call, Credential::TokenKey) {
        Ok(()) => {
            let keys = read_in(folder.as_deref(), client.clone())
                .await
                .unwrap_or_default();
            let newest = keys.lines().map(str::trim).find(|key| !key.is_empty());
            let missing = || {
                let message = format!("token key is missing for '{client}'");
                Denial::new(StatusCode::MissingKey, message)
            };
            newest.map(str::to_owned).ok_or_else(missing)
        }
        Err(denial) => Err(denial),
    };
    match found {
        Ok(key) => answer(&call, json!({"tokenKey": key}), json!({"tokenKey": key})),
        Err(denial) => deny(&call, denial),
    }
}

fn answer(call: &Call, legacy: Value, v1: Value) -> Reply {
    match call.dialect {
        Dialect::V1 => Reply::data(v1),
        Dialect::Legacy => {
            let fields = Fields::from_value(legacy).unwrap_or_default();
            Answer::success(Dialect::Legacy, fields).into()
        }
    }
}

fn deny(call: &Call, denial: Denial) -> Reply {
    let (who, reason) = (&call.caller.name, &denial.message);
    tracing::info!(who, reason, "a credential is not given");
    match call.dialect {
        Dialect::V1 => Reply::refusal(denial.message),
        Dialect::Legacy => Answer::failure(Dialect::Legacy, denial.status, &denial.message).into(),
    }
}

/// What somebody asks for.
#[derive(Clone, Copy)]
enum Credential {
    KeyPair,
    Proxy,
    Token,
    TokenKey,
}

/// Says whether the caller may have it. Whoever is trusted with everything may.
fn may_have(call: &Call, what: Credential) -> Result<(), Denial> {
    let caller = &call.caller;
    if caller.proof == Proof::None {
        return Err(Denial::new(StatusCode::Permission, NO_NAME));
    }
    let lists = call.app.identities.credentials();
    let (allowed, word, setting): (&BTreeSet<String>, _, _) = match what {
        Credential::KeyPair => (&lists.allow_key_pairs, "key pairs", "allow_key_pairs"),
        Credential::Proxy => (&lists.allow_proxies, "proxies", "allow_proxies"),
        Credential::Token => (&lists.allow_proxies, "access tokens", "allow_proxies"),
        Credential::TokenKey => (&lists.allow_token_keys, "token keys", "allow_token_keys"),
    };
    if caller.proof == Proof::Loopback || allowed.contains(&caller.name) {
        return Ok(());
    }
    let who = &caller.name;
    let message =
        format!("failed since '{who}' may not have {word}: not in `credentials.{setting}`");
    Err(Denial::new(StatusCode::Permission, message))
}

/// Reads a file that lies directly in a folder; none if it is not there, or no text.
async fn read_in(folder: Option<&Path>, name: String) -> Option<String> {
    let path = within(folder?, &name)?;
    let read = tokio::task::spawn_blocking(move || (read_file(&path), path)).await;
    let (read, path) = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    match read {
        Ok(text) => Some(text),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, path = %path.display(), "a credential cannot be given");
            }
            None
        }
    }
}

fn read_file(path: &PathBuf) -> io::Result<String> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > FILE_MAX {
        return Err(io::Error::other(format!(
            "it is no file of at most {FILE_MAX} bytes"
        )));
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

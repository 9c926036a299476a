//! Who calls, by tokens of a real OIDC provider: device flow as panda-client does it, and tokens
//! with which something is wrong.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use ailurus_testkit::oidc::{AUDIENCE, CLIENT, OTHER_CLIENT, OidcProvider, ROBOT};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Answer, Server, run, wait_for};

/// A server that takes tokens of a provider.
struct Tokens {
    provider: OidcProvider,
    server: Server,
    folder: TempDir,
}

fn start() -> Option<Tokens> {
    let folder = tempfile::tempdir().unwrap();
    let provider = OidcProvider::start(&folder.path().join("provider")).unwrap()?;
    let files = folder.path().join("auth");
    fs::create_dir(&files).unwrap();
    for name in ["spd", "spd.production"] {
        let file = json!({
            "client_id": CLIENT, "client_secret": format!("secret-of-{CLIENT}"),
            "audience": AUDIENCE, "oidc_config_url": provider.discovery_url(), "vo": "spd",
            "secondary_ids": [ROBOT], "robot_ids": [ROBOT],
        });
        fs::write(
            files.join(format!("{name}_auth_config.json")),
            file.to_string(),
        )
        .unwrap();
    }
    let lines = format!("[tokens]\ndirectory = {files:?}\nkeys_lifetime = \"1s\"\n");
    let server = Server::start_with(&lines);
    Some(Tokens {
        provider,
        server,
        folder,
    })
}

impl Tokens {
    fn ask(&self, token: &str, origin: &str) -> Answer {
        let headers = format!(
            "Accept: application/json\r\nAuthorization: Bearer {token}\r\nOrigin: {origin}\r\n"
        );
        self.server
            .send("GET", "/api/v1/system/get_user_attributes", &headers, b"")
    }

    fn refusal(&self, token: &str, origin: &str) -> String {
        let answer = self.ask(token, origin);
        assert_eq!(answer.status, 403, "{answer:?}");
        let text = answer
            .text
            .strip_prefix("ERROR : Token authentication failed. ");
        text.expect("PanDA's words").to_owned()
    }

    /// The device flow, step by step as panda-client does it.
    fn log_in(&self, client: &str, account: &str) -> String {
        let config = self.server.get("/auth/spd_auth_config.json").json();
        assert_eq!(config["oidc_config_url"], self.provider.discovery_url());
        let secret = format!("secret-of-{client}");
        let form = format!("client_id={client}&client_secret={secret}");
        let ask = format!("{form}&scope=openid%20profile%20email%20offline_access");
        let code = self.provider.post_form("/device/auth", &ask).unwrap();
        let device = code["device_code"].as_str().unwrap();
        let poll = format!(
            "{form}&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code\
             &device_code={device}"
        );
        let early = self.provider.post_form("/token", &poll).unwrap();
        assert_eq!(early["error"], "authorization_pending", "{early}");
        let user_code = code["user_code"].as_str().unwrap();
        self.provider.approve(user_code, account).unwrap();
        let token = self.provider.post_form("/token", &poll).unwrap();
        let token = token["id_token"].as_str();
        token.unwrap_or_else(|| panic!("no token")).to_owned()
    }

    /// Claims with which all is well.
    fn claims(&self) -> Value {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        json!({"iss": self.provider.issuer(), "aud": CLIENT, "sub": "jane", "iat": now,
            "exp": now + 600, "name": "Jane Doe", "preferred_username": "jdoe",
            "groups": ["/spd"]})
    }

    fn signed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.provider.sign(&json!({}), &claims).unwrap()
    }
}

#[test]
fn a_person_logs_in_by_device_flow_and_has_the_roles_of_their_groups() {
    let Some(tokens) = start() else { return };
    let jane = tokens.log_in(CLIENT, "jane");
    let found = tokens.ask(&jane, "spd").data();
    assert_eq!(found["user_dn_raw"], "Jane Doe/CN=nickname:jdoe");
    assert_eq!(found["user_dn_clean"], "Jane Doe");
    assert_eq!(found["is_production_user"], false);
    for origin in ["spd.production", "spd:production"] {
        let found = tokens.ask(&jane, origin).data();
        assert_eq!(found["fqans"], json!(["/spd/Role=production"]));
        assert_eq!(found["is_production_user"], true);
    }
    let john = tokens.log_in(CLIENT, "john");
    assert_eq!(tokens.ask(&john, "spd").data()["user_dn_clean"], "John Roe");
    let refused = tokens.refusal(&john, "spd.production");
    assert_eq!(refused, "Not a member of the spd/production group");
    let eve = tokens.log_in(CLIENT, "eve");
    assert_eq!(tokens.refusal(&eve, "spd"), "Not a member of the spd group");
    assert_eq!(tokens.refusal(&jane, "mpd"), "Unknown vo : mpd");
    let other = tokens.log_in(OTHER_CLIENT, "jane");
    let refused = tokens.refusal(&other, "spd");
    assert_eq!(
        refused,
        "Invalid token. cannot extract client_id from token"
    );
    let log = tokens.server.log();
    let signature = jane.rsplit('.').next().unwrap();
    assert!(!log.contains(signature), "the log has a token");
}

#[test]
fn a_program_is_known_by_its_client_credentials() {
    let Some(tokens) = start() else { return };
    let form =
        format!("client_id={ROBOT}&client_secret=secret-of-{ROBOT}&grant_type=client_credentials");
    let answer = tokens.provider.post_form("/token", &form).unwrap();
    let token = answer["access_token"].as_str().unwrap();
    let found = tokens.ask(token, "spd.production").data();
    assert_eq!(found["user_dn_raw"], "Robot Production");
    assert_eq!(found["is_production_user"], true);
}

#[test]
fn tokens_with_which_something_is_wrong_are_refused() {
    let Some(tokens) = start() else { return };
    let good = tokens.signed(|_| {});
    assert_eq!(tokens.ask(&good, "spd").status, 200);
    let now = tokens.claims()["iat"].as_u64().unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let [header, _, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let mut boss = tokens.claims();
    boss["groups"] = json!(["/spd", "/spd/production"]);
    let forged = format!("{header}.{}.{signature}", part(&boss));
    let none = format!(
        "{}.{}.",
        part(&json!({"alg": "none", "kid": "x"})),
        part(&boss)
    );
    let hs256 = json!({"alg": "HS256", "kid": "x"});
    let hs256 = format!("{}.{}.{signature}", part(&hs256), part(&boss));
    let unknown = json!({"alg": "RS256", "kid": "nobody's"});
    let unknown = format!("{}.{}.{signature}", part(&unknown), part(&boss));
    let keyless = format!(
        "{}.{}.{signature}",
        part(&json!({"alg": "RS256"})),
        part(&boss)
    );
    for (token, expected) in [
        (
            tokens.signed(|it| it["exp"] = json!(now - 600)),
            "Signature has expired",
        ),
        (
            tokens.signed(|it| it["nbf"] = json!(now + 600)),
            "not yet valid",
        ),
        (
            tokens.signed(|it| it["aud"] = json!("https://other")),
            "cannot extract client_id",
        ),
        (
            tokens.signed(|it| {
                it["aud"] = json!("https://other");
                it["client_id"] = json!(CLIENT);
            }),
            "Audience doesn't match",
        ),
        (
            tokens.signed(|it| it["iss"] = json!("https://other")),
            "Invalid issuer",
        ),
        (
            tokens.signed(|it| {
                it.as_object_mut().unwrap().remove("exp");
            }),
            "missing the \"exp\" claim",
        ),
        (forged, "Signature verification failed"),
        (none, "not signed with RS256"),
        (hs256, "not signed with RS256"),
        (unknown, "JWK not found"),
        (keyless, "cannot extract kid"),
        ("no.token".to_owned(), "no JWT that can be read"),
        ("x".repeat(20_000), "no JWT that can be read"),
    ] {
        let refused = tokens.refusal(&token, "spd");
        assert!(refused.contains(expected), "{refused}: {expected}");
    }
}

#[test]
fn new_keys_count_and_old_ones_end_and_an_issuer_that_is_away_locks_nobody_out() {
    let Some(tokens) = start() else { return };
    let before = tokens.signed(|_| {});
    assert_eq!(tokens.ask(&before, "spd").status, 200);
    tokens.provider.rotate().unwrap();
    let after = tokens.signed(|_| {});
    wait_for("the new key to count", || {
        (tokens.ask(&after, "spd").status == 200).then_some(())
    });
    wait_for("the end of the old key", || {
        (tokens.ask(&before, "spd").status == 403).then_some(())
    });
    let late = tokens.signed(|it| it["name"] = json!("Late Caller"));
    let Tokens {
        provider,
        server,
        folder,
    } = tokens;
    drop(provider);
    let headers = format!("Authorization: Bearer {late}\r\nOrigin: spd\r\n");
    let path = "/api/v1/system/get_user_attributes";
    // The keys are older than their time at one of these, and are kept all the same.
    let begin = std::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_secs(3) {
        let answer = server.send("GET", path, &headers, b"");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let config = server.dir().join("server.toml");
    let output = run(&["config", "check", "--config", config.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("warning: issuer"), "{text}");
    drop(folder);
}

#[test]
fn without_a_token_nobody_is_anybody() {
    let Some(tokens) = start() else { return };
    let answer = tokens.server.get("/api/v1/system/get_user_attributes");
    assert_eq!(
        answer.json()["message"],
        "SSL secure connection is required"
    );
    let public = tokens.server.get("/auth/spd.production_auth_config.json");
    assert_eq!(public.json()["client_id"], CLIENT);
    assert!(public.json().get("robot_ids").is_none());
    assert_eq!(tokens.server.get("/auth/none_auth_config.json").status, 404);
    assert_eq!(tokens.server.get("/auth/..%2Fserver.toml").status, 404);
}

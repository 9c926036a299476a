//! Who calls, over real TLS: certificates and proxies made by `openssl`, shown by the client of the
//! pilot.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ailurus_http::{Client, ClientCertificate, ClientConfig, Response, Trust};
use ailurus_testkit::storage::{
    Certificates, VomsAttributes,
    certificates::{INDEPENDENT, Identity, LAST, LIMITED, Proxy},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{QUEUE, Server, run, submission, wait_for};

/// A server with HTTPS, and an authority that it believes.
pub(crate) struct Secure {
    pub(crate) server: Server,
    pub(crate) certificates: Certificates,
    _folder: TempDir,
}

/// Starts one; none if there is no `openssl`. `{voms}` in the lines is a folder for VOMS servers.
pub(crate) fn start(tls_lines: &str, lines: &str) -> Option<Secure> {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("ca")).unwrap()?;
    let host = certificates.host();
    fs::create_dir_all(folder.path().join("vomsdir/spd")).unwrap();
    let vomsdir = folder.path().join("vomsdir");
    let text = format!(
        "{lines}\n[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\n\
         authorities = {:?}\nvomsdir = {vomsdir:?}\n{tls_lines}",
        host.certificate,
        host.key,
        certificates.directory(),
    );
    let server = Server::start_with(&text);
    Some(Secure {
        server,
        certificates,
        _folder: folder,
    })
}

impl Secure {
    pub(crate) fn url(&self) -> String {
        let address = fs::read_to_string(self.server.dir().join("address.tls")).unwrap();
        format!("https://{}", address.trim())
    }

    fn client(&self, shown: Option<(&Path, &Path)>) -> Client {
        let certificate = shown.map(|(chain, key)| ClientCertificate {
            chain_file: chain.to_owned(),
            key_file: key.to_owned(),
        });
        Client::new(ClientConfig {
            certificate,
            trust: Trust::Directory(self.certificates.directory()),
            ..ClientConfig::default()
        })
        .unwrap()
    }

    fn get(&self, client: &Client, call: &str) -> Result<Response, String> {
        let url = format!("{}/api/v1/{call}", self.url());
        let headers = [("Accept", "application/json")];
        client
            .get(&url, &headers)
            .map_err(|error| error.to_string())
    }

    /// Who the server takes somebody for.
    fn who(&self, client: &Client) -> Result<Value, String> {
        let answer = self.get(client, "system/get_attributes")?;
        assert_eq!(answer.status, 200, "{answer:?}");
        Ok(serde_json::from_slice(&answer.body).unwrap())
    }

    fn with_proxy(&self, proxy: &Proxy) -> Client {
        self.client(Some((&proxy.file, &proxy.file)))
    }

    fn with_certificate(&self, of: &Identity) -> Client {
        self.client(Some((&of.certificate, &of.key)))
    }

    fn rights(&self, client: &Client) -> Value {
        let answer = self.get(client, "system/get_user_attributes").unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        answer["data"].clone()
    }

    fn refused(&self, proxy: &Proxy, why: &str) {
        let answer = self.who(&self.with_proxy(proxy));
        assert!(answer.is_err(), "let in: {answer:?}");
        wait_for("the refusal in the log", || {
            let log = self.server.log();
            log.contains(why).then_some(())
        });
    }
}

fn environment(answer: &Value, name: &str) -> String {
    let value = &answer["data"]["environment"][name];
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn certificates_and_proxies_of_proxies_are_their_user() {
    let Some(secure) = start("", "") else { return };
    let user = secure.certificates.user("Some User").unwrap();
    let proxy = secure.certificates.proxy(&user).unwrap();
    let second = secure.certificates.proxy_of(&proxy).unwrap();
    let third = secure.certificates.proxy_of(&second).unwrap();
    let mut clients = vec![secure.with_certificate(&user)];
    clients.extend([&proxy, &second, &third].map(|proxy| secure.with_proxy(proxy)));
    for client in clients {
        let answer = secure.who(&client).unwrap();
        assert_eq!(answer["success"], true, "{answer}");
        let dn = environment(&answer, "SSL_CLIENT_S_DN");
        assert_eq!(dn, "/DC=org/DC=test/CN=Some User");
        assert_eq!(environment(&answer, "AILURUS_PROOF"), "certificate");
        let rights = secure.rights(&client);
        assert_eq!(rights["user_dn_clean"], "Some User");
        assert_eq!(rights["is_production_user"], false);
    }
}

#[test]
fn who_shows_nothing_is_nobody_and_loopback_is_not_trusted_beside_tls() {
    let Some(secure) = start("", "") else { return };
    let answer = secure.who(&secure.client(None)).unwrap();
    assert_eq!(answer["message"], "SSL secure connection is required");
    let alive = secure.get(&secure.client(None), "system/is_alive").unwrap();
    assert_eq!(alive.status, 200);
    let plain = secure.server.get("/api/v1/system/get_attributes").json();
    assert_eq!(plain["message"], "SSL secure connection is required");
    let fields = json!({"siteName": QUEUE, "prodSourceLabel": "managed"});
    let refused = secure.server.legacy("getJob", &fields);
    assert_eq!(refused.get("StatusCode").unwrap(), "60");
}

#[test]
fn the_machine_itself_is_trusted_where_the_configuration_says_so() {
    let Some(secure) = start("", "trust_loopback = true") else {
        return;
    };
    let answer = secure.who(&secure.client(None)).unwrap();
    assert_eq!(environment(&answer, "AILURUS_PROOF"), "loopback");
}

#[test]
fn limited_proxies_stay_limited_and_are_not_secure() {
    let Some(secure) = start("", "") else { return };
    let user = secure.certificates.user("Some User").unwrap();
    let limited = secure.certificates.proxy_with(&user, LIMITED).unwrap();
    let second = secure.certificates.proxy_of(&limited).unwrap();
    let third = secure.certificates.proxy_of(&second).unwrap();
    for proxy in [&limited, &second, &third] {
        let answer = secure.who(&secure.with_proxy(proxy)).unwrap();
        assert_eq!(answer["message"], "SSL secure connection is required");
    }
}

#[test]
fn proxies_that_break_a_rule_are_refused_with_the_reason_in_the_log() {
    let Some(secure) = start("", "") else { return };
    let made = &secure.certificates;
    let user = made.user("Some User").unwrap();
    let good = made.proxy(&user).unwrap();
    secure.refused(&made.expired_proxy(&user).unwrap(), "has expired");
    secure.refused(
        &made.forged_proxy(&user).unwrap(),
        "was not signed by its issuer",
    );
    let independent = made.proxy_with(&user, INDEPENDENT).unwrap();
    secure.refused(&independent, "is an independent one");
    let last = made.proxy_with(&user, LAST).unwrap();
    assert!(secure.who(&secure.with_proxy(&last)).is_ok());
    let beyond = made.proxy_of(&last).unwrap();
    secure.refused(&beyond, "is followed by more proxies than it allows");
    let authority = "proxyCertInfo=critical,language:id-ppl-inheritAll\nbasicConstraints=CA:TRUE\n";
    secure.refused(
        &made.proxy_with(&user, authority).unwrap(),
        "claims to be an authority",
    );
    let unknown = "proxyCertInfo=critical,language:id-ppl-inheritAll\n1.2.3.4=critical,DER:0500\n";
    secure.refused(
        &made.proxy_with(&user, unknown).unwrap(),
        "extension that is not known",
    );
    let other_name =
        "proxyCertInfo=critical,language:id-ppl-inheritAll\nsubjectAltName=DNS:boss.org\n";
    secure.refused(
        &made.proxy_with(&user, other_name).unwrap(),
        "has an alternative name",
    );
    // A certificate that a user makes without saying that it is a proxy is none at all.
    let none = made.proxy_with(&user, "").unwrap();
    secure.refused(&none, "the certificate below all proxies is refused");
    // The chain without the user's own certificate is broken.
    let text = fs::read_to_string(&good.file).unwrap();
    let own = fs::read_to_string(&user.certificate).unwrap();
    let broken = secure.server.dir().join("broken.pem");
    fs::write(&broken, text.replace(&own, "")).unwrap();
    assert!(
        secure
            .who(&secure.client(Some((&broken, &broken))))
            .is_err()
    );
    assert!(
        secure
            .server
            .log()
            .contains("the issuer of the proxy was not shown")
    );
}

#[test]
fn proxies_of_yesterday_are_refused_with_what_to_do() {
    let Some(secure) = start("", "") else { return };
    let made = &secure.certificates;
    let user = made.user("Some User").unwrap();
    secure.refused(&made.weak_proxy(&user).unwrap(), "is signed with SHA-1");
    for part in ["proxy", "limited proxy"] {
        let old = made.legacy_proxy(&user, part).unwrap();
        secure.refused(&old, "is of a kind from before RFC 3820");
    }
    assert!(secure.server.log().contains("voms-proxy-init -rfc"));
}

#[test]
fn proxies_serve_in_each_version_of_tls_and_no_older_one_is_spoken() {
    let Some(secure) = start("", "") else { return };
    let user = secure.certificates.user("Some User").unwrap();
    let proxy = secure.certificates.proxy(&user).unwrap();
    let url = format!("{}/api/v1/system/get_user_attributes", secure.url());
    let ask = |version: &str| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--header",
                "Accept: application/json",
            ])
            .args(["--tls-max", version])
            .arg(format!("--tlsv{version}"))
            .arg("--capath")
            .arg(secure.certificates.directory())
            .arg("--cert")
            .arg(&proxy.file)
            .arg(&url)
            .output()
            .unwrap();
        serde_json::from_slice::<Value>(&output.stdout).ok()
    };
    for version in ["1.2", "1.3"] {
        let answer = ask(version).expect(version);
        assert_eq!(
            answer["data"]["user_dn_raw"], user.name,
            "{version}: {answer}"
        );
    }
    assert_eq!(ask("1.1"), None);
}

#[test]
fn strangers_are_refused() {
    let Some(secure) = start("", "") else { return };
    let folder = tempfile::tempdir().unwrap();
    let others = Certificates::make(folder.path()).unwrap().unwrap();
    let stranger = others.user("Some User").unwrap();
    secure.refused(&others.proxy(&stranger).unwrap(), "UnknownIssuer");
}

#[test]
fn a_list_of_revoked_certificates_counts_without_a_restart() {
    let Some(secure) = start("", "") else { return };
    let user = secure.certificates.user("Some User").unwrap();
    let other = secure.certificates.user("Other User").unwrap();
    assert!(secure.who(&secure.with_certificate(&user)).is_ok());
    secure.certificates.revoke(&user).unwrap();
    wait_for("the list to be read", || {
        secure
            .who(&secure.with_certificate(&user))
            .is_err()
            .then_some(())
    });
    assert!(secure.who(&secure.with_certificate(&other)).is_ok());
    let proxy = secure.certificates.proxy(&user).unwrap();
    secure.refused(&proxy, "Revoked");
}

#[test]
fn without_a_list_nobody_is_let_in_where_lists_are_required() {
    let Some(secure) = start("revocation = \"required\"", "") else {
        return;
    };
    let user = secure.certificates.user("Some User").unwrap();
    let other = secure.certificates.user("Other User").unwrap();
    assert!(secure.who(&secure.with_certificate(&other)).is_err());
    secure.certificates.revoke(&user).unwrap();
    wait_for("the list to be read", || {
        secure
            .who(&secure.with_certificate(&other))
            .is_ok()
            .then_some(())
    });
    assert!(secure.who(&secure.with_certificate(&user)).is_err());
}

#[test]
fn a_signing_policy_bounds_what_an_authority_may_certify() {
    let Some(secure) = start("", "") else { return };
    let user = secure.certificates.user("Some User").unwrap();
    assert!(secure.who(&secure.with_certificate(&user)).is_ok());
    for entry in fs::read_dir(secure.certificates.directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "signing_policy") {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(
                &path,
                text.replace("/DC=org/DC=test/*", "/DC=org/DC=other/*"),
            )
            .unwrap();
        }
    }
    wait_for("the policy to be read", || {
        secure
            .who(&secure.with_certificate(&user))
            .is_err()
            .then_some(())
    });
    assert!(secure.server.log().contains("says its signing policy"));
}

/// The VOMS server of the test's VO, named in its file.
fn voms_server(secure: &Secure) -> Identity {
    let server = secure.certificates.user("voms.test.org").unwrap();
    let authority = Command::new("openssl")
        .args(["x509", "-noout", "-subject", "-nameopt", "compat", "-in"])
        .arg(secure.certificates.authority())
        .output()
        .unwrap();
    let authority = String::from_utf8(authority.stdout).unwrap();
    let authority = authority.trim().trim_start_matches("subject=").trim();
    let lsc = format!("{}\n{authority}\n", server.name);
    let folder = secure._folder.path().join("vomsdir/spd");
    fs::write(folder.join("voms.test.org.lsc"), lsc).unwrap();
    server
}

/// A proxy with these attributes in it.
fn proxy_with(secure: &Secure, attributes: &VomsAttributes<'_>) -> Proxy {
    let extension = attributes.extension(&secure.certificates).unwrap();
    let extensions = format!("proxyCertInfo=critical,language:id-ppl-inheritAll\n{extension}");
    let made = secure
        .certificates
        .proxy_with(attributes.holder, &extensions);
    made.unwrap()
}

const FQANS: &[&str] = &[
    "/spd/Role=production/Capability=NULL",
    "/spd/Role=NULL/Capability=NULL",
];

#[test]
fn attributes_of_a_known_voms_server_give_roles_also_to_proxies_of_the_proxy() {
    let Some(secure) = start("", "") else { return };
    let user = secure.certificates.user("Some User").unwrap();
    let server = voms_server(&secure);
    let proxy = proxy_with(&secure, &VomsAttributes::of(&user, &server, FQANS));
    let second = secure.certificates.proxy_of(&proxy).unwrap();
    wait_for("the server of the VO to be known", || {
        let rights = secure.rights(&secure.with_proxy(&proxy));
        (rights["is_production_user"] == true).then_some(())
    });
    for proxy in [&proxy, &second] {
        let rights = secure.rights(&secure.with_proxy(proxy));
        assert_eq!(rights["fqans"], json!(["/spd/Role=production", "/spd"]));
        assert_eq!(rights["is_production_user"], true);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of what can be wrong")]
fn attributes_that_nobody_vouches_for_do_not_count() {
    let Some(secure) = start("", "") else { return };
    let made = &secure.certificates;
    let user = made.user("Some User").unwrap();
    let server = voms_server(&secure);
    let good = VomsAttributes::of(&user, &server, FQANS);
    wait_for("the server of the VO to be known", || {
        let rights = secure.rights(&secure.with_proxy(&proxy_with(&secure, &good)));
        (rights["is_production_user"] == true).then_some(())
    });
    let other = made.user("Other User").unwrap();
    let changed = |attributes: VomsAttributes<'_>| proxy_with(&secure, &attributes);
    // What was given to another, put into a proxy of this user.
    let stolen = VomsAttributes::of(&other, &server, FQANS)
        .extension(made)
        .unwrap();
    let stolen = format!("proxyCertInfo=critical,language:id-ppl-inheritAll\n{stolen}");
    for (proxy, reason) in [
        (
            changed(VomsAttributes {
                signer: &other,
                ..good.clone()
            }),
            "the signature is not that of the server",
        ),
        (
            changed(VomsAttributes {
                server: &other,
                ..good.clone()
            }),
            "is not known for VO",
        ),
        (
            changed(VomsAttributes {
                vo: "mpd",
                ..good.clone()
            }),
            "is none of VO",
        ),
        (
            changed(VomsAttributes {
                period: [good.period[0], "20200102000000Z"],
                ..good.clone()
            }),
            "are not valid at this time",
        ),
        (
            changed(VomsAttributes {
                period: ["20980101000000Z", good.period[1]],
                ..good.clone()
            }),
            "are not valid at this time",
        ),
        (
            changed(VomsAttributes {
                is_targeted: true,
                ..good.clone()
            }),
            "are for other services",
        ),
        (
            made.proxy_with(&user, &stolen).unwrap(),
            "were given to somebody else",
        ),
        (
            made.proxy_with(
                &user,
                "proxyCertInfo=critical,language:id-ppl-inheritAll\n\
                 1.3.6.1.4.1.8005.100.100.5=DER:3003020107\n",
            )
            .unwrap(),
            "VOMS attributes cannot be read",
        ),
    ] {
        let rights = secure.rights(&secure.with_proxy(&proxy));
        assert_eq!(rights["fqans"], json!([]), "{reason}");
        let log = secure.server.log();
        assert!(log.contains(reason), "{reason} is not in {log}");
    }
}

#[test]
fn attributes_of_an_unknown_vo_count_only_where_told_so() {
    let Some(secure) = start("voms = \"unverified\"", "") else {
        return;
    };
    let user = secure.certificates.user("Some User").unwrap();
    let server = secure.certificates.user("voms.test.org").unwrap();
    let proxy = proxy_with(&secure, &VomsAttributes::of(&user, &server, FQANS));
    let rights = secure.rights(&secure.with_proxy(&proxy));
    assert_eq!(rights["is_production_user"], true);
}

#[test]
fn a_pilot_with_a_robots_proxy_does_a_job_over_https() {
    let lines = "";
    let tls = "\n[roles]\npilot_owners = [\"CN=Robot pilot$\"]\n\
               production_dns = [\"/CN=Production Manager\"]";
    let Some(secure) = start(tls, lines) else {
        return;
    };
    let manager = secure.certificates.user("Production Manager").unwrap();
    let manager = secure.with_certificate(&manager);
    let body = submission("secure", 1).to_string();
    let url = format!("{}/ailurus/v1/tasks", secure.url());
    let answer = manager.post(&url, body.as_bytes(), "application/json", &[]);
    assert_eq!(answer.unwrap().status, 201);
    let robot = secure.certificates.user("Robot pilot").unwrap();
    let pilot = secure.with_proxy(&secure.certificates.proxy(&robot).unwrap());
    let call = |method: &str, fields: &Value| {
        let url = format!("{}/server/panda/{method}", secure.url());
        let body = ailurus_wire::body::compress(fields.to_string().as_bytes());
        let headers = [("Accept", "application/json")];
        let answer = pilot
            .post(&url, &body, "application/json", &headers)
            .unwrap();
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let ask = json!({"siteName": QUEUE, "prodSourceLabel": "managed", "mem": 0, "node": "n"});
    let job = wait_for("a job", || {
        let job = call("getJob", &ask);
        (job["StatusCode"] == 0).then_some(job)
    });
    let running = json!({"jobId": job["PandaID"], "state": "running", "attemptNr": 1});
    assert_eq!(call("updateJob", &running)["StatusCode"], 0);
    // Somebody without the role gets none of it.
    let user = secure.certificates.user("Some User").unwrap();
    let user = secure.with_certificate(&user);
    let url = format!("{}/server/panda/updateJob", secure.url());
    let body = running.to_string();
    let headers = [("Accept", "application/json")];
    let refused = user
        .post(&url, body.as_bytes(), "application/json", &headers)
        .unwrap();
    let refused: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(refused["StatusCode"], 60);
    let url = format!("{}/api/v1/pilot/update_job", secure.url());
    let body = json!({"job_id": job["PandaID"], "job_status": "running"}).to_string();
    let refused = user.post(&url, body.as_bytes(), "application/json", &[]);
    let refused: Value = serde_json::from_slice(&refused.unwrap().body).unwrap();
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.starts_with("production or pilot role required: `Some User` comes with no role"),
        "{message}"
    );
}

#[test]
fn secrets_are_given_to_their_owner_alone_and_are_in_no_log() {
    let Some(secure) = start("", "log = \"trace\"") else {
        return;
    };
    let client = |name: &str| {
        let user = secure.certificates.user(name).unwrap();
        secure.with_certificate(&user)
    };
    let (jane, john) = (client("Jane Doe"), client("John Doe"));
    let set = |fields: Value| {
        let url = format!("{}/api/v1/creds/set_user_secrets", secure.url());
        let body = fields.to_string();
        let answer = jane
            .post(&url, body.as_bytes(), "application/json", &[])
            .unwrap();
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let get = |client: &Client, query: &str| {
        let answer = secure.get(client, &format!("creds/get_user_secrets{query}"));
        let answer: Value = serde_json::from_slice(&answer.unwrap().body).unwrap();
        serde_json::from_str::<Value>(answer["data"].as_str().unwrap()).unwrap()
    };
    assert_eq!(
        set(json!({"key": "password", "value": "n0tToBeSeen"}))["success"],
        true
    );
    assert_eq!(
        set(json!({"key": "___file___:a.pem", "value": "eA=="}))["success"],
        true
    );
    let both = json!({"password": "n0tToBeSeen", "___file___:a.pem": "eA=="});
    assert_eq!(get(&jane, ""), both);
    assert_eq!(
        get(&jane, "?keys=password"),
        json!({"password": "n0tToBeSeen"})
    );
    assert_eq!(get(&john, ""), json!({}));
    assert_eq!(set(json!({"key": "a.pem", "value": null}))["success"], true);
    assert_eq!(get(&jane, ""), json!({"password": "n0tToBeSeen"}));
    let large = set(json!({"key": "large", "value": "x".repeat(1_400_000)}));
    assert_eq!(large["success"], false);
    assert_eq!(set(json!({"key": null, "value": null}))["success"], true);
    assert_eq!(get(&jane, ""), json!({}));
    assert!(!secure.server.log().contains("n0tToBeSeen"));
}

#[test]
fn credentials_go_to_those_who_are_listed() {
    let keys = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(keys.path().join(name), text).unwrap();
    put("spd.pub", "PUBLIC");
    put("spd.key", "PRIVATE\n");
    put("access_token_pilot_server", "the.access.token\n");
    fs::create_dir(keys.path().join("token_keys")).unwrap();
    put("token_keys/pilot_server", "newest\nolder\n");
    let folder = keys.path();
    let tls = format!(
        "\n[credentials]\nkey_pairs = {folder:?}\nproxies = {folder:?}\ntokens = {folder:?}\n\
         token_keys = {:?}\nallow_key_pairs = [\"Harvester\"]\nallow_proxies = [\"Harvester\"]\n\
         allow_token_keys = [\"Harvester\"]\n",
        folder.join("token_keys")
    );
    let Some(secure) = start(&tls, "") else {
        return;
    };
    let harvester = secure.certificates.user("Harvester").unwrap();
    put(
        &ailurus_identity::credentials::proxy_file(&harvester.name, None),
        "PROXY",
    );
    let harvester = secure.with_certificate(&harvester);
    let user = secure.certificates.user("Some User").unwrap();
    let user = secure.with_certificate(&user);
    let get = |client: &Client, call: &str| {
        let answer = secure.get(client, &format!("creds/{call}")).unwrap();
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let pair = get(
        &harvester,
        "get_key_pair?public_key_name=spd.pub&private_key_name=spd.key",
    );
    assert_eq!(pair["data"]["private_key"], "PRIVATE");
    let outside = "get_key_pair?public_key_name=spd.pub&private_key_name=../spd.key";
    assert_eq!(get(&harvester, outside)["success"], false);
    let proxy = get(&harvester, "get_proxy");
    assert_eq!(proxy["data"]["userProxy"], "PROXY");
    assert_eq!(proxy["data"]["user_proxy"], "PROXY");
    let key = get(&harvester, "get_token_key?client_name=pilot_server");
    assert_eq!(key["data"]["tokenKey"], "newest");
    let token = get(
        &harvester,
        "get_access_token?client_name=pilot_server&token_key=older",
    );
    assert_eq!(token["data"]["userProxy"], "the.access.token");
    let wrong = get(
        &harvester,
        "get_access_token?client_name=pilot_server&token_key=x",
    );
    assert_eq!(wrong["success"], false);
    for call in ["get_proxy", "get_token_key?client_name=pilot_server"] {
        let answer = get(&user, call);
        assert_eq!(answer["success"], false);
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("'Some User' may not have"), "{message}");
    }
}

#[test]
fn banned_people_may_not_call_and_the_list_counts_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("banned");
    fs::write(&list, "# nobody so far\n").unwrap();
    let Some(secure) = start(&format!("\n[roles]\nbanned_users = {list:?}\n"), "") else {
        return;
    };
    let user = secure.certificates.user("Some User").unwrap();
    let client = secure.with_certificate(&user);
    assert!(secure.who(&client).is_ok());
    fs::write(&list, "Some User\n").unwrap();
    let refused = wait_for("the list to be read", || {
        let answer = secure.get(&client, "system/is_alive").unwrap();
        (answer.status == 403).then(|| answer.text())
    });
    assert_eq!(refused, "ERROR : Some User is banned");
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_a_useless_one_changes_nothing() {
    let Some(secure) = start("", "") else { return };
    let host = secure.certificates.host();
    fs::write(&host.certificate, "no certificate").unwrap();
    wait_for("the complaint", || {
        let log = secure.server.log();
        log.contains("those from before stay in use").then_some(())
    });
    assert!(secure.get(&secure.client(None), "system/is_alive").is_ok());
    let user = secure.certificates.user("localhost").unwrap();
    fs::copy(&user.key, &host.key).unwrap();
    fs::copy(&user.certificate, &host.certificate).unwrap();
    // The new one is no server's: the client notices.
    wait_for("the new certificate", || {
        let answer = secure.get(&secure.client(None), "system/is_alive");
        answer.is_err().then_some(())
    });
}

#[test]
fn handshakes_that_never_end_hold_nobody_up() {
    let Some(secure) = start("handshake_timeout = \"2s\"", "") else {
        return;
    };
    let address = secure.url().replace("https://", "");
    let silent: Vec<TcpStream> = (0..200)
        .map(|nr| {
            let mut stream = TcpStream::connect(&address).unwrap();
            // Half of them begin one, or talk nonsense.
            if nr % 2 == 0 {
                stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
            }
            stream
        })
        .collect();
    let alive = secure.get(&secure.client(None), "system/is_alive").unwrap();
    assert_eq!(alive.status, 200);
    for mut stream in silent {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut rest = Vec::new();
        // They are closed in the end, with or without an alert.
        drop(stream.read_to_end(&mut rest));
    }
}

#[test]
fn what_is_wrong_with_certificates_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let Some(made) = Certificates::make(&folder.path().join("ca")).unwrap() else {
        return;
    };
    let host = made.host();
    let other = made.user("Other").unwrap();
    let config = folder.path().join("server.toml");
    let write = |certificate: &Path, key: &Path, authorities: &Path| {
        let text = format!(
            "queues = \"none.json\"\n[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \
             {certificate:?}\nkey = {key:?}\nauthorities = {authorities:?}\n"
        );
        fs::write(&config, text).unwrap();
        let output = run(&["config", "check", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    };
    let authorities = made.directory();
    let mismatch = write(&host.certificate, &other.key, &authorities);
    assert!(mismatch.contains("cannot be used together"), "{mismatch}");
    let missing: PathBuf = folder.path().join("none.pem");
    let unreadable = write(&missing, &host.key, &authorities);
    assert!(
        unreadable.contains("none.pem` cannot be read"),
        "{unreadable}"
    );
    let no_key = write(&host.certificate, &host.certificate, &authorities);
    assert!(no_key.contains("has no private key"), "{no_key}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let nobody = write(&host.certificate, &host.key, &empty);
    assert!(
        nobody.contains("has no certificate of an authority"),
        "{nobody}"
    );
}

#[test]
fn links_of_the_server_lead_back_over_its_own_tls() {
    let roles = "[roles]\nproduction_dns = [\"/CN=Jane Doe\"]\n";
    let Some(secure) = start(roles, "") else {
        return;
    };
    let user = secure.certificates.user("Jane Doe").unwrap();
    let client = secure.with_certificate(&user);
    let url = format!("{}/api/v1/file_server/upload_jedi_log", secure.url());
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"7.log\"\r\n\
                Content-Type: application/octet-stream\r\n\r\nseen\r\n--b--\r\n";
    let kind = "multipart/form-data; boundary=b";
    // What somebody says of a proxy does not count where there is none.
    let headers = [
        ("X-Forwarded-Proto", "http"),
        ("Accept", "application/json"),
    ];
    let answer = client.post(&url, body.as_bytes(), kind, &headers).unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let link = format!("{}/cache/jedilog/7.log", secure.url());
    assert_eq!(answer["data"], link, "{answer}");
    let log = client.get(&link, &[]).unwrap();
    assert_eq!((log.status, &log.body[..]), (200, &b"seen"[..]));
}

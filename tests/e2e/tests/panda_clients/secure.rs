//! The same over HTTPS, where everybody has a name: people with tokens of a real OIDC provider or
//! with certificates, pilots with a grid proxy or a token.

use std::{fs, path::PathBuf};

use ailurus_testkit::{
    oidc::{AUDIENCE, CLIENT, OidcProvider},
    panda_clients::{Identity, Transport, User, VO},
    storage::Certificates,
    wait::wait_for,
};
use anyhow::Context as _;
use serde_json::json;

use crate::site::{LABEL, PYTHON_PILOT_SCRIPTS, PYTHON_QUEUE, Site};

const SECRET: &str = "open sesame";
/// Most runs of the pilot for one task.
const RUNS_MAX: usize = 5;
/// Longest wait for a server to be there again.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// A site whose server knows people by tokens and certificates, and trusts nobody else.
struct Secure {
    site: Site,
    certificates: Certificates,
    provider: OidcProvider,
    origin: String,
}

/// How the site's user says who they are.
enum Proof {
    Token,
    Certificate,
}

/// Starts one; none if the machine lacks `openssl` or `node`.
fn start(proof: &Proof) -> Option<Secure> {
    let site = Site::start(&[]).unwrap();
    let folder = site.world.folder().to_owned();
    let certificates = Certificates::make(&folder.join("ca")).unwrap()?;
    let provider = OidcProvider::start(&folder.join("provider")).unwrap()?;
    let secure = Secure {
        origin: String::new(),
        site,
        certificates,
        provider,
    };
    Some(secure.with_https().unwrap().with_user(proof).unwrap())
}

impl Secure {
    /// Starts the server again, with HTTPS.
    fn with_https(mut self) -> anyhow::Result<Self> {
        let folder = self.site.world.folder().join("auth");
        fs::create_dir(&folder)?;
        let issuer = json!({
            "client_id": CLIENT, "client_secret": format!("secret-of-{CLIENT}"),
            "audience": AUDIENCE, "oidc_config_url": self.provider.discovery_url(), "vo": VO,
        });
        fs::write(
            folder.join(format!("{VO}_auth_config.json")),
            issuer.to_string(),
        )?;
        let host = self.certificates.host();
        let deployment = &mut self.site.world.deployment;
        let path = deployment.folder().join("server.toml");
        let lines = format!(
            "{}\n[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\n\
             authorities = {:?}\n\n[tokens]\ndirectory = {folder:?}\n\n\
             [roles]\nproduction_dns = [\"/CN=Some Pilot\"]\n",
            fs::read_to_string(&path)?,
            host.certificate,
            host.key,
            self.certificates.directory(),
        );
        fs::write(&path, lines)?;
        deployment.stop_server()?;
        deployment.restart_server()?;
        let address = deployment.folder().join("server.address.tls");
        let address = wait_for("the server's HTTPS", LIMIT, || {
            Ok(fs::read_to_string(&address).ok())
        })?;
        self.origin = format!("https://{}", address.trim());
        Ok(self)
    }

    fn with_user(self, proof: &Proof) -> anyhow::Result<Self> {
        let pilot = self.certificates.user("Some Pilot")?;
        let pilot = self.certificates.proxy(&pilot)?.file;
        let user = match proof {
            Proof::Token => self.by_token("jane")?,
            Proof::Certificate => {
                let user = self.certificates.user("Jane Doe")?;
                self.by_certificate(self.certificates.proxy(&user)?.file)
            }
        };
        let pilots = self.by_certificate(pilot);
        Ok(Self {
            site: self.site.over(user, pilots)?,
            ..self
        })
    }

    fn by_certificate(&self, file: PathBuf) -> Transport {
        Transport {
            origin: self.origin.clone(),
            identity: Identity::Certificate {
                file,
                authorities: self.certificates.directory(),
            },
        }
    }

    /// Has somebody log in by device flow, and returns their token.
    fn log_in(&self, account: &str) -> anyhow::Result<String> {
        let form = format!("client_id={CLIENT}&client_secret=secret-of-{CLIENT}");
        let ask = format!("{form}&scope=openid%20profile%20email%20offline_access");
        let code = self.provider.post_form("/device/auth", &ask)?;
        let text = |name: &str| code[name].as_str().context("no code");
        self.provider.approve(text("user_code")?, account)?;
        let get = format!(
            "{form}&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code\
             &device_code={}",
            text("device_code")?
        );
        let token = self.provider.post_form("/token", &get)?;
        Ok(token["id_token"].as_str().context("no token")?.to_owned())
    }

    /// By a person's token.
    fn by_token(&self, account: &str) -> anyhow::Result<Transport> {
        Ok(Transport {
            origin: self.origin.clone(),
            identity: Identity::Token {
                token: self.log_in(account)?,
                vo: VO.to_owned(),
                authorities: self.certificates.directory(),
            },
        })
    }

    /// As a pilot with a person's token and this origin.
    fn pilot_by_token(&self, account: &str, origin: &str) -> anyhow::Result<Transport> {
        let file = self.site.world.folder().join("pilot.token");
        fs::write(&file, self.log_in(account)?)?;
        Ok(Transport {
            origin: self.origin.clone(),
            identity: Identity::PilotToken {
                file,
                origin: origin.to_owned(),
                authorities: self.certificates.directory(),
            },
        })
    }

    /// The same site, whose user is `john` and whose pilots have his token.
    fn with_john(mut self, origin: &str) -> anyhow::Result<Self> {
        let (user, pilots) = (self.by_token("john")?, self.pilot_by_token("john", origin)?);
        self.site = self.site.over(user, pilots)?;
        self.site.nickname = "jroe";
        Ok(self)
    }

    /// Submits what the user's script makes.
    fn begin(&self, name: &str, script: &str, options: &[&str]) -> u64 {
        fs::write(self.site.user.work().join("go.sh"), script).unwrap();
        let options = [&["--outputs", "out.txt"][..], options].concat();
        self.site.begin(name, "sh go.sh", &options).unwrap()
    }

    /// Runs `pbook` to its end.
    fn pbook(&self, arguments: &[&str]) -> String {
        self.site.user.run_well("pbook", arguments).unwrap()
    }
}

#[test]
fn payloads_of_prun_get_the_secrets_of_their_user_alone() {
    let Some(secure) = start(&Proof::Token) else {
        return;
    };
    secure.pbook(&["set_secret", "PASSWORD", SECRET]);
    let script = "echo \"<$PASSWORD>\" > out.txt\n";
    let with = secure.begin("with", script, &["--useSecrets"]);
    let without = secure.begin("without", script, &[]);
    for (task, name, expected) in [
        (with, "with", format!("<{SECRET}>\n")),
        (without, "without", "<>\n".to_owned()),
    ] {
        // A pilot may have ended before the jobs of both tasks were there.
        for _ in 0..RUNS_MAX {
            if secure.site.status(task).unwrap() == "scouting" {
                secure.site.run_pilot(LABEL).unwrap();
            }
        }
        secure.site.wait_for(task, &["done"]).unwrap();
        let outputs = secure.site.outputs(task, "out.txt").unwrap();
        assert_eq!(outputs, [expected], "{name}");
    }
    let deployment = &secure.site.world.deployment;
    let log = fs::read_to_string(deployment.folder().join("server.log")).unwrap();
    let pilot = secure.site.world.folder().join("pilot/pilot.err");
    assert!(!log.contains(SECRET) && !fs::read_to_string(pilot).unwrap().contains(SECRET));
}

#[test]
fn pbook_shows_a_person_with_a_token_their_own_tasks_alone() {
    let Some(secure) = start(&Proof::Token) else {
        return;
    };
    let script = "echo hi > out.txt\n";
    let task = secure.begin("shown", script, &[]).to_string();
    let said = secure.pbook(&["show"]);
    assert!(said.contains("user.jdoe.shown"), "{said}");
    let john = secure.site.world.folder().join("john");
    let john = User::new(&john, secure.by_token("john").unwrap()).unwrap();
    let said = john.run("pbook", &["show"]).unwrap();
    assert!(!said.text.contains("user.jdoe.shown"), "{}", said.text);
    let lines = format!("from pandaclient import Client\nprint(Client.killTask({task}))");
    let said = john.python(&lines).unwrap();
    assert!(said.contains("False"), "{said}");
}

#[test]
fn the_tools_speak_for_a_person_with_a_grid_proxy() {
    let Some(secure) = start(&Proof::Certificate) else {
        return;
    };
    let task = secure.begin("proxy", "echo hi > out.txt\n", &[]);
    let lines = format!("from pandaclient import Client\nprint(Client.killTask({task}))");
    let said = secure.site.user.python(&lines).unwrap();
    assert!(said.contains("True"), "{said}");
    secure.site.wait_for(task, &["aborted"]).unwrap();
}

#[test]
fn the_python_pilot_with_a_proxy_runs_jobs_with_secrets_over_https() {
    let Some(secure) = start(&Proof::Token) else {
        return;
    };
    secure.pbook(&["set_secret", "PASSWORD", SECRET]);
    let run = format!("{PYTHON_PILOT_SCRIPTS}/trf/user/runGen-00-00-02");
    let options = ["--site", PYTHON_QUEUE, "--useSecrets", "--transPath", &run];
    let task = secure.begin("python", "echo \"<$PASSWORD>\" > out.txt\n", &options);
    secure.site.run_python_pilot(LABEL).unwrap();
    secure.site.wait_for(task, &["done"]).unwrap();
    let outputs = secure.site.outputs(task, "out.txt").unwrap();
    assert_eq!(outputs, [format!("<{SECRET}>\n")]);
}

#[test]
fn our_pilot_with_a_token_of_the_role_runs_jobs_of_everybody_over_https() {
    let Some(secure) = start(&Proof::Token) else {
        return;
    };
    let mut secure = secure.with_john(VO).unwrap();
    let task = secure.begin("role", "echo hi > out.txt\n", &[]);
    let john = secure.by_token("john").unwrap();
    let pilots = secure.pilot_by_token("jane", &format!("{VO}.production"));
    secure.site = secure.site.over(john, pilots.unwrap()).unwrap();
    let end = secure.site.run_pilot(LABEL).unwrap();
    assert_eq!(end.exit_code, Some(0), "{}", end.log);
    secure.site.wait_for(task, &["done"]).unwrap();
    assert_eq!(secure.site.outputs(task, "out.txt").unwrap(), ["hi\n"]);
}

#[test]
fn our_pilot_with_a_token_without_a_role_runs_the_jobs_of_its_owner_alone() {
    let Some(secure) = start(&Proof::Token) else {
        return;
    };
    let janes = secure.begin("janes", "echo hi > out.txt\n", &[]);
    let secure = secure.with_john(VO).unwrap();
    let johns = secure.begin("johns", "echo hi > out.txt\n", &[]);
    let end = secure.site.run_pilot(LABEL).unwrap();
    assert_eq!(end.exit_code, Some(0), "{}", end.log);
    secure.site.wait_for(johns, &["done"]).unwrap();
    assert!(secure.site.outputs(janes, "out.txt").unwrap().is_empty());
}

#[test]
fn our_pilot_says_which_role_its_token_lacks_and_ends() {
    let Some(secure) = start(&Proof::Token) else {
        return;
    };
    let secure = secure.with_john(VO).unwrap();
    let end = secure.site.run_pilot("managed").unwrap();
    assert_eq!(end.exit_code, Some(68), "{}", end.log);
    let lacks = "no production/pilot role in VOMS FQANs or non pilot owner: `John Roe` comes with \
                 no role and needs `pilot`; the header `Origin` asks for it, as `VO.pilot`";
    assert!(end.log.contains(lacks), "{}", end.log);
    // A role that the token's groups do not have is refused in whatever is asked.
    let secure = secure.with_john(&format!("{VO}.production"));
    let end = secure.unwrap().site.run_pilot("managed").unwrap();
    assert_ne!(end.exit_code, Some(0), "{}", end.log);
    let lacks = "Not a member of the spd/production group";
    assert!(end.log.contains(lacks), "{}", end.log);
}

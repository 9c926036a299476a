//! Where the settings of Rucio come from.

use clap::Parser as _;

use super::*;

/// A home directory with Rucio's file in it.
struct Home(tempfile::TempDir);

impl Home {
    fn with(file: &str) -> Self {
        let home = tempfile::tempdir().expect("space");
        fs::create_dir(home.path().join("etc")).expect("space");
        fs::write(home.path().join("etc/rucio.cfg"), file).expect("space");
        for name in ["proxy", "token", "cert.pem", "key.pem"] {
            fs::write(home.path().join(name), "x").expect("space");
        }
        Self(home)
    }

    fn place(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn gather(&self, words: &[&str], variables: &[(&str, &str)]) -> Option<RucioSettings> {
        let line = ["pilot.py", "-q", "Q"].iter().chain(words);
        let args = Args::try_parse_from(line.copied()).expect("understood");
        let home = self.0.path().display().to_string();
        let usual = [("RUCIO_HOME", home.as_str()), ("HOME", home.as_str())];
        let environment = Environment::of(usual.iter().chain(variables).copied());
        let file = ConfigFile::default();
        RucioSettings::gather(&args, (&environment, &file), |_| ClientConfig::default())
    }

    fn client(&self, variables: &[(&str, &str)]) -> Result<Box<RucioConfig>, String> {
        let settings = self.gather(&[], variables).expect("a server");
        settings.client.map_err(|error| error.to_string())
    }
}

const FILE: &str = "\
# Rucio's own
[client]
rucio_host = https://rucio.example.org:443/
auth_host = https://auth.example.org
auth_type = userpass
account = spdprod
username = alice
password = s%3cret
request_retries = 3
client_cert = ~/cert.pem
client_key = $HOME/key.pem
[trace]
trace_host = http://traces.example.org
";

#[test]
fn the_servers_account_and_password_stand_in_rucios_file() {
    let home = Home::with(FILE);
    let settings = home.gather(&[], &[]).expect("a server");
    let traces = settings.traces.expect("wanted");
    assert_eq!(traces.url, "http://traces.example.org/traces/");
    let client = settings.client.expect("a credential");
    assert_eq!(client.host, "https://rucio.example.org:443");
    assert_eq!(client.auth_host, "https://auth.example.org");
    assert_eq!(client.account.as_deref(), Some("spdprod"));
    assert_eq!(client.retries.tries_max.get(), 3);
    assert!(matches!(&client.credential, Credential::UserPass { user, .. } if user == "alice"));
    assert!(!format!("{client:?}").contains("s%3cret"));
}

#[test]
fn options_and_variables_come_before_files() {
    let home = Home::with(FILE);
    let words = [
        "--rucio-host",
        "other.example.org",
        "--use-rucio-traces",
        "false",
    ];
    let variables = [
        ("RUCIO_ACCOUNT", "bob"),
        ("PILOT_RUCIO_SITENAME", "JINR"),
        ("RUCIO_LOCAL_SITE_ID", "JINR_LOCAL"),
    ];
    let settings = home.gather(&words, &variables).expect("a server");
    assert!(settings.traces.is_none());
    assert_eq!(settings.site.as_deref(), Some("JINR"));
    assert_eq!(settings.local_site.as_deref(), Some("JINR_LOCAL"));
    let client = settings.client.expect("a credential");
    assert_eq!(client.host, "https://other.example.org");
    assert_eq!(client.account.as_deref(), Some("bob"));
}

#[test]
fn without_a_server_there_is_no_rucio() {
    assert!(
        Home::with("[client]\naccount = a\n")
            .gather(&[], &[])
            .is_none()
    );
}

#[test]
fn each_way_of_proving_who_one_is_finds_its_files() {
    let home = Home::with(FILE);
    let with = |kind: &str, variables: &[(&str, &str)]| {
        let all = [&[("RUCIO_AUTH_TYPE", kind)], variables].concat();
        home.client(&all).map(|client| client.credential)
    };
    let (proxy, token) = (home.place("proxy"), home.place("token"));
    let credential = with("x509_proxy", &[("X509_USER_PROXY", &proxy)]).expect("a proxy");
    assert!(
        matches!(&credential, Credential::Proxy(it) if it.key_file == Path::new(&proxy)),
        "{credential:?}"
    );
    let credential = with("x509", &[]).expect("a certificate");
    assert!(
        matches!(&credential, Credential::Certificate(it)
            if it.key_file.ends_with("key.pem") && it.chain_file.ends_with("cert.pem")),
        "{credential:?}"
    );
    let credential = with("oidc", &[("BEARER_TOKEN_FILE", &token)]).expect("a token");
    assert!(matches!(&credential, Credential::TokenFile(it) if *it == Path::new(&token)));
    let credential = with("oidc", &[("BEARER_TOKEN", " t \n")]).expect("a token");
    assert!(matches!(&credential, Credential::Token(it) if it.reveal() == "t"));
    let error = with("ssh", &[]).expect_err("not known");
    assert!(
        error.contains("`ssh`") && error.contains("`userpass`"),
        "{error}"
    );
}

#[test]
fn a_proxy_is_taken_where_nobody_says_how() {
    let home = Home::with("[client]\nrucio_host = http://r\n");
    let proxy = home.place("proxy");
    let client = home
        .client(&[("X509_USER_PROXY", &proxy)])
        .expect("a proxy");
    assert!(matches!(client.credential, Credential::Proxy(_)));
    assert_eq!(client.auth_host, "http://r");
    let client = home.client(&[("RUCIO_AUTH_TYPE", "userpass"), ("X509_USER_PROXY", &proxy)]);
    assert!(client.expect_err("no password").contains("`password`"));
}

//! A grid authority for tests, by `openssl`: hosts, users, proxies (RFC 3820), and a directory of
//! authorities as grid programs read it.
//!
//! The keys are RSA because grid software knows no others. For HTTPS stand-ins inside a test
//! there is [`tls`](crate::tls), which needs no program. Nothing here is secure for any other use.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, bail};

use crate::server;

/// The beginning of every name, as `openssl` writes names.
const NAMES: &str = "/DC=org/DC=test";

/// The extension of proxies that have all rights of their user.
pub const INHERIT_ALL: &str = "proxyCertInfo=critical,language:id-ppl-inheritAll\n";
/// The extension of limited proxies.
pub const LIMITED: &str = "proxyCertInfo=critical,language:1.3.6.1.4.1.3536.1.1.1.9\n";
/// The extension of proxies that have no rights of their user.
pub const INDEPENDENT: &str = "proxyCertInfo=critical,language:id-ppl-independent\n";
/// The extension of proxies after which none may follow.
pub const LAST: &str = "proxyCertInfo=critical,language:id-ppl-inheritAll,pathlen:0\n";

/// What `openssl` needs to make a list of revoked certificates.
const LIST_SETTINGS: &str = "[ca]\ndefault_ca=d\n[d]\ndatabase=revoked.txt\n\
    crlnumber=list-number\ndefault_md=sha256\ndefault_crl_days=10\n";

/// Days for which certificates hold; proxies one.
const DAYS: &str = "10";

/// A certificate or a chain of such, and the key behind the first.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate in PEM form.
    pub certificate: PathBuf,
    /// Its key in PEM form; only its owner may read it.
    pub key: PathBuf,
    /// Its name as grid programs write it, for example `/DC=org/DC=test/CN=Some User`.
    pub name: String,
}

/// A grid proxy in one file: the proxy, its key, and the chain up to the user.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// What `X509_USER_PROXY` names.
    pub file: PathBuf,
    of: Identity,
    chain: String,
}

/// An authority with what it made, in one folder.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    n_made: AtomicU32,
    /// Hashes of the users' names.
    users: Mutex<Vec<String>>,
}

impl Certificates {
    /// Makes an authority with a certificate for `localhost`, below an empty folder of its own.
    /// None if the machine has no `openssl`.
    ///
    /// # Errors
    ///
    /// The folder cannot be written, or `openssl` fails.
    pub fn make(folder: &Path) -> anyhow::Result<Option<Self>> {
        if !server::are_there(&["openssl"], "apt-get install openssl")? {
            return Ok(None);
        }
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let made = Self {
            folder,
            n_made: AtomicU32::new(1),
            users: Mutex::default(),
        };
        // Two authorities of a test must not have one name.
        let name = format!("{NAMES}/CN=Test CA {}", process_and_chance());
        made.openssl(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-days", DAYS, "-subj", &name,
        ])?;
        let hash = made.openssl(&["x509", "-in", "ca.pem", "-noout", "-hash"])?;
        let hash = hash.trim();
        let directory = made.directory();
        fs::create_dir_all(&directory)?;
        fs::copy(
            made.folder.join("ca.pem"),
            directory.join(format!("{hash}.0")),
        )?;
        fs::write(
            directory.join(format!("{hash}.signing_policy")),
            format!(
                "access_id_CA X509 '{name}'\npos_rights globus CA:sign\n\
                 cond_subjects globus '\"{NAMES}/*\"'\n"
            ),
        )?;
        let host = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n\
                    extendedKeyUsage=serverAuth,clientAuth\n";
        made.sign("host", &format!("{NAMES}/CN=localhost"), host)?;
        Ok(Some(made))
    }

    /// Returns the directory of authorities, what `X509_CERT_DIR` names: the authority below the
    /// hash of its name, and its signing policy.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.folder.join("authorities")
    }

    /// Returns the authority's certificate in PEM form, for programs that take a file.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Returns the certificate of `localhost`, `127.0.0.1` and `::1`.
    #[must_use]
    pub fn host(&self) -> Identity {
        self.identity("host", &format!("{NAMES}/CN=localhost"))
    }

    /// Makes a user's certificate; `name` is its last part, for example `Some User`.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn user(&self, name: &str) -> anyhow::Result<Identity> {
        let extensions = "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n\
                          keyUsage=digitalSignature,keyEncipherment\n";
        let file = format!("user-{}", self.next_nr());
        let user = self.sign(&file, &format!("{NAMES}/CN={name}"), extensions)?;
        let certificate = text(&user.certificate)?;
        let hash = self.openssl(&["x509", "-in", certificate, "-noout", "-hash"])?;
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.push(hash.trim().to_owned());
        Ok(user)
    }

    /// Returns the hashes of the users' names, by which XRootD calls people whom no map names.
    pub(super) fn user_hashes(&self) -> Vec<String> {
        let users = self.users.lock();
        users.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a user's proxy that holds for a day.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn proxy(&self, user: &Identity) -> anyhow::Result<Proxy> {
        self.proxy_with(user, INHERIT_ALL)
    }

    /// Makes a user's proxy with extensions of `openssl`'s form, for example [`LIMITED`].
    ///
    /// # Errors
    ///
    /// `openssl` fails, or does not know an extension.
    pub fn proxy_with(&self, user: &Identity, extensions: &str) -> anyhow::Result<Proxy> {
        let chain = fs::read_to_string(&user.certificate)?;
        self.delegate(user, &chain, extensions, &["-days", "1"])
    }

    /// Makes a proxy that names a user as its issuer, but was signed with the key of another of the
    /// same name: a chain that is broken.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn forged_proxy(&self, user: &Identity) -> anyhow::Result<Proxy> {
        let (_, name) = user.name.rsplit_once("/CN=").context("a user has a name")?;
        let double = self.user(name)?;
        let chain = fs::read_to_string(&user.certificate)?;
        self.delegate(&double, &chain, INHERIT_ALL, &["-days", "1"])
    }

    /// Makes a user's proxy that has ended.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn expired_proxy(&self, user: &Identity) -> anyhow::Result<Proxy> {
        let chain = fs::read_to_string(&user.certificate)?;
        self.delegate(user, &chain, INHERIT_ALL, &["-days", "-1"])
    }

    /// Makes a user's proxy that is signed with SHA-1.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn weak_proxy(&self, user: &Identity) -> anyhow::Result<Proxy> {
        let chain = fs::read_to_string(&user.certificate)?;
        self.delegate(user, &chain, INHERIT_ALL, &["-days", "1", "-sha1"])
    }

    /// Makes a user's proxy as Globus Toolkit 2 did: only its name, `proxy` or `limited proxy`, says
    /// what it is.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn legacy_proxy(&self, user: &Identity, part: &str) -> anyhow::Result<Proxy> {
        let chain = fs::read_to_string(&user.certificate)?;
        self.delegate_as(part, user, &chain, "", &["-days", "1"])
    }

    /// Makes a proxy of a proxy, as delegation does.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn proxy_of(&self, proxy: &Proxy) -> anyhow::Result<Proxy> {
        self.proxy_of_with(proxy, INHERIT_ALL)
    }

    /// As [`proxy_of`](Self::proxy_of), with extensions of `openssl`'s form.
    ///
    /// # Errors
    ///
    /// `openssl` fails, or does not know an extension.
    pub fn proxy_of_with(&self, proxy: &Proxy, extensions: &str) -> anyhow::Result<Proxy> {
        self.delegate(&proxy.of, &proxy.chain, extensions, &["-days", "1"])
    }

    /// Puts a user on the list of revoked certificates, which lies beside the authority then.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn revoke(&self, user: &Identity) -> anyhow::Result<()> {
        let certificate = text(&user.certificate)?;
        let said = self.openssl(&["x509", "-in", certificate, "-noout", "-serial"])?;
        let serial = said.trim().trim_start_matches("serial=");
        let line = format!(
            "R\t400101000000Z\t200101000000Z\t{serial}\tunknown\t{}\n",
            user.name
        );
        fs::write(self.folder.join("revoked.txt"), line)?;
        fs::write(
            self.folder.join("revoked.txt.attr"),
            "unique_subject = no\n",
        )?;
        fs::write(self.folder.join("list-number"), "01\n")?;
        fs::write(self.folder.join("list.cfg"), LIST_SETTINGS)?;
        let settings = ["ca", "-config", "list.cfg", "-gencrl", "-out", "list.pem"];
        self.openssl(&[&settings[..], &["-cert", "ca.pem", "-keyfile", "ca.key"]].concat())?;
        let hash = self.openssl(&["x509", "-in", "ca.pem", "-noout", "-hash"])?;
        let list = self.directory().join(format!("{}.r0", hash.trim()));
        fs::copy(self.folder.join("list.pem"), list)?;
        Ok(())
    }

    /// Returns a certificate in DER form.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn der(&self, of: &Identity) -> anyhow::Result<Vec<u8>> {
        let certificate = text(&of.certificate)?;
        self.openssl(&[
            "x509",
            "-in",
            certificate,
            "-outform",
            "DER",
            "-out",
            "some.der",
        ])?;
        Ok(fs::read(self.folder.join("some.der"))?)
    }

    /// Signs bytes with RSA and SHA-256.
    ///
    /// # Errors
    ///
    /// `openssl` fails.
    pub fn sign_bytes(&self, by: &Identity, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        fs::write(self.folder.join("signed.bin"), bytes)?;
        let key = text(&by.key)?;
        self.openssl(&[
            "dgst",
            "-sha256",
            "-sign",
            key,
            "-out",
            "signature.bin",
            "signed.bin",
        ])?;
        Ok(fs::read(self.folder.join("signature.bin"))?)
    }

    /// Returns the environment of a client that shows this proxy and believes this authority.
    #[must_use]
    pub fn environment(&self, proxy: &Proxy) -> [(&'static str, PathBuf); 2] {
        [
            ("X509_USER_PROXY", proxy.file.clone()),
            ("X509_CERT_DIR", self.directory()),
        ]
    }

    /// Copies the host's certificate and the directory of authorities into the folder of a server,
    /// which may be another user, and returns where they are then.
    pub(super) fn copy_to(&self, folder: &Path) -> anyhow::Result<(Identity, PathBuf)> {
        let mut host = self.host();
        for file in [&mut host.certificate, &mut host.key] {
            let copy = folder.join(file.file_name().context("a file has a name")?);
            fs::copy(&*file, &copy)?;
            *file = copy;
        }
        let authorities = folder.join("authorities");
        fs::create_dir_all(&authorities)?;
        for entry in fs::read_dir(self.directory())? {
            let entry = entry?;
            fs::copy(entry.path(), authorities.join(entry.file_name()))?;
        }
        Ok((host, authorities))
    }

    fn delegate(
        &self,
        from: &Identity,
        chain: &str,
        extensions: &str,
        holds: &[&str],
    ) -> anyhow::Result<Proxy> {
        let name = self.next_nr().to_string();
        self.delegate_as(&name, from, chain, extensions, holds)
    }

    /// Makes a proxy whose name is its issuer's and one part more.
    fn delegate_as(
        &self,
        part: &str,
        from: &Identity,
        chain: &str,
        extensions: &str,
        holds: &[&str],
    ) -> anyhow::Result<Proxy> {
        let nr = self.next_nr();
        let file = format!("proxy-{nr}");
        let name = format!("{}/CN={part}", from.name);
        let usage = "keyUsage=critical,digitalSignature,keyEncipherment\n";
        self.request(&file, &name, &format!("{usage}{extensions}"))?;
        let (signer, key) = (text(&from.certificate)?, text(&from.key)?);
        let by = ["-CA", signer, "-CAkey", key, "-set_serial", &nr.to_string()];
        let of = self.certify(&file, &name, &[&by[..], holds].concat())?;
        let certificate = fs::read_to_string(&of.certificate)?;
        let path = self.folder.join(format!("{file}.proxy"));
        let key = fs::read_to_string(&of.key)?;
        write_secret(&path, &format!("{certificate}{key}{chain}"))?;
        Ok(Proxy {
            file: path,
            of,
            chain: format!("{certificate}{chain}"),
        })
    }

    fn sign(&self, file: &str, name: &str, extensions: &str) -> anyhow::Result<Identity> {
        self.request(file, name, extensions)?;
        let serial = self.next_nr().to_string();
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", &serial];
        self.certify(file, name, &[&by[..], &["-days", DAYS]].concat())
    }

    fn request(&self, file: &str, name: &str, extensions: &str) -> anyhow::Result<()> {
        fs::write(self.folder.join(format!("{file}.ext")), extensions)?;
        let (key, request) = (format!("{file}.key"), format!("{file}.csr"));
        self.openssl(&[
            "req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request, "-subj",
            name,
        ])?;
        Ok(())
    }

    fn certify(&self, file: &str, name: &str, by: &[&str]) -> anyhow::Result<Identity> {
        let made = self.identity(file, name);
        let (request, extensions) = (format!("{file}.csr"), format!("{file}.ext"));
        let certificate = text(&made.certificate)?;
        let what = ["x509", "-req", "-in", &request, "-extfile", &extensions];
        self.openssl(&[&what[..], &["-out", certificate], by].concat())?;
        fs::set_permissions(&made.key, fs::Permissions::from_mode(0o600))?;
        Ok(made)
    }

    fn identity(&self, file: &str, name: &str) -> Identity {
        Identity {
            certificate: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
            name: name.to_owned(),
        }
    }

    fn next_nr(&self) -> u32 {
        self.n_made.fetch_add(1, Ordering::Relaxed)
    }

    fn openssl(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("openssl");
        command.args(words).current_dir(&self.folder);
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`openssl {}` failed: {}", words.join(" "), said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Returns a text that no other authority of this machine has in its name.
fn process_and_chance() -> String {
    static NR: AtomicU32 = AtomicU32::new(1);
    let nr = NR.fetch_add(1, Ordering::Relaxed);
    format!("{}-{nr}", std::process::id())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("`{}` is not valid text", path.display()))
}

fn write_secret(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

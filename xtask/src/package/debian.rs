//! Debian packages of the four programs.
//!
//! The programs are static, so one package serves every Debian and Ubuntu. Services are installed
//! and not started: they need to be told their queues first.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use ailurus_testkit::place;
use anyhow::{Context as _, bail};
use flate2::{Compression, GzBuilder};

use crate::shell;

use super::{VERSION, packaging};

const MAINTAINER: &str = "Ailurus developers <ailurus@packages.invalid>";

/// One package.
#[derive(Debug)]
struct Package {
    /// Its name, and that of its program.
    name: &'static str,
    summary: &'static str,
    description: &'static str,
    role: Role,
    /// Pages of the book that are installed with it.
    pages: &'static [&'static str],
}

/// What comes besides the program.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// Nothing.
    Tool,
    /// A unit, a user to run it, and configuration files: names in `packaging/debian` or the
    /// text itself.
    Service(&'static [(&'static str, Configuration)]),
}

#[derive(Debug, Clone, Copy)]
enum Configuration {
    File,
    Text(&'static str),
}

const PACKAGES: [Package; 4] = [
    Package {
        name: "ailurus-pilot",
        summary: "PanDA pilot: runs jobs on a worker node",
        description: "It checks its node, pulls a job, brings the data, runs and watches the\n \
            payload, stores the output and reports. Takes the place of Pilot 3.",
        role: Role::Tool,
        pages: &["admins.md", "differences.md", "errors.md"],
    },
    Package {
        name: "ailurus-server",
        summary: "PanDA server: tasks, jobs and queues",
        description: "It cuts tasks into jobs, chooses a queue for each, and gives them to\n \
            pilots. Takes the place of PanDA server and JEDI.",
        role: Role::Service(&[
            ("server.toml", Configuration::File),
            ("queues.json", Configuration::Text("{}\n")),
            ("storages.json", Configuration::Text("{}\n")),
        ]),
        pages: &["operators.md", "errors.md"],
    },
    Package {
        name: "ailurus-harvester",
        summary: "Harvester: keeps pilots on batch systems",
        description: "It keeps as many pilots on each queue's batch system as there is work.\n \
            Takes the place of Harvester.",
        role: Role::Service(&[("harvester.toml", Configuration::File)]),
        pages: &["operators.md"],
    },
    Package {
        name: "ailurus",
        summary: "Command line for tasks and jobs of PanDA",
        description: "It submits tasks to an Ailurus server, and shows tasks, jobs, queues,\n \
            datasets and logs.",
        role: Role::Tool,
        pages: &["users.md"],
    },
];

/// Builds the packages of the programs that `program` gives; `time` is that of all packed files,
/// in seconds since 1970.
pub(super) fn build_packages(
    folder: &Path,
    time: u64,
    program: impl Fn(&str) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<Vec<PathBuf>> {
    let architecture = architecture()?;
    let mut built = Vec::new();
    for package in &PACKAGES {
        let program = program(package.name)?;
        let tree = folder.join("trees").join(package.name);
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        package.fill(&tree, &program, &architecture)?;
        put_changelog(&tree, package.name, time)?;
        let file = folder.join(format!("{}_{VERSION}_{architecture}.deb", package.name));
        let mut command = shell::command("dpkg-deb");
        command.args(["--build", "--root-owner-group"]);
        command.env("SOURCE_DATE_EPOCH", time.to_string());
        // Its own line about the package is progress, not what was asked for.
        command.stdout(std::process::Stdio::null());
        shell::run(command.arg(&tree).arg(&file))?;
        built.push(file);
    }
    fs::remove_dir_all(folder.join("trees"))?;
    Ok(built)
}

/// Returns what Debian calls this machine's architecture.
fn architecture() -> anyhow::Result<String> {
    let output = shell::command("dpkg")
        .arg("--print-architecture")
        .output()
        .context("`dpkg` cannot be started: Debian packages are made on Debian")?;
    if !output.status.success() {
        bail!("`dpkg --print-architecture` ended with {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

impl Package {
    /// Writes all that the package holds below `tree`.
    fn fill(&self, tree: &Path, program: &Path, architecture: &str) -> anyhow::Result<()> {
        let name = self.name;
        let bytes =
            fs::read(program).with_context(|| format!("`{}` cannot be read", program.display()))?;
        put(tree, &format!("usr/bin/{name}"), &bytes, 0o755)?;
        let documents = format!("usr/share/doc/{name}");
        for page in self.pages {
            let text = fs::read(place::workspace().join("docs").join(page))?;
            put(tree, &format!("{documents}/{page}"), &text, 0o644)?;
        }
        put(
            tree,
            &format!("{documents}/copyright"),
            COPYRIGHT.as_bytes(),
            0o644,
        )?;
        put(
            tree,
            &format!("usr/share/lintian/overrides/{name}"),
            format!("{name}: statically-linked-binary [usr/bin/{name}]\n").as_bytes(),
            0o644,
        )?;
        let mut needs = "";
        if let Role::Service(configuration) = self.role {
            needs = "Depends: systemd | systemd-standalone-sysusers\n";
            self.fill_service(tree, configuration)?;
        }
        let size_kib = bytes.len().div_ceil(1024);
        let control = format!(
            "Package: {name}\nVersion: {VERSION}\nArchitecture: {architecture}\n\
             Maintainer: {MAINTAINER}\nInstalled-Size: {size_kib}\n{needs}\
             Section: science\nPriority: optional\n\
             Description: {}\n {}\n",
            self.summary, self.description
        );
        put(tree, "DEBIAN/control", control.as_bytes(), 0o644)
    }

    fn fill_service(
        &self,
        tree: &Path,
        configuration: &[(&str, Configuration)],
    ) -> anyhow::Result<()> {
        let name = self.name;
        let unit = fs::read(packaging().join(format!("debian/{name}.service")))?;
        put(
            tree,
            &format!("usr/lib/systemd/system/{name}.service"),
            &unit,
            0o644,
        )?;
        let users = fs::read(packaging().join("debian/sysusers.conf"))?;
        put(
            tree,
            &format!("usr/lib/sysusers.d/{name}.conf"),
            &users,
            0o644,
        )?;
        let mut listed = String::new();
        for (file, source) in configuration {
            let text = match source {
                Configuration::File => fs::read(packaging().join("debian").join(file))?,
                Configuration::Text(text) => text.as_bytes().to_vec(),
            };
            put(tree, &format!("etc/ailurus/{file}"), &text, 0o644)?;
            listed.push_str(&format!("/etc/ailurus/{file}\n"));
        }
        put(tree, "DEBIAN/conffiles", listed.as_bytes(), 0o644)?;
        let script = |text: &str| text.replace("@NAME@", name).into_bytes();
        put(tree, "DEBIAN/postinst", &script(AFTER_INSTALLATION), 0o755)?;
        put(tree, "DEBIAN/prerm", &script(BEFORE_REMOVAL), 0o755)?;
        put(tree, "DEBIAN/postrm", &script(AFTER_REMOVAL), 0o755)
    }
}

/// Makes the user; a service that ran before runs the new program.
const AFTER_INSTALLATION: &str = "#!/bin/sh\nset -e\n\
    if [ \"$1\" = configure ]; then\n  \
      systemd-sysusers @NAME@.conf\n  \
      if [ -d /run/systemd/system ]; then\n    \
        systemctl daemon-reload\n    \
        systemctl try-restart @NAME@.service\n  \
      fi\nfi\n";

/// Stops the service.
const BEFORE_REMOVAL: &str = "#!/bin/sh\nset -e\n\
    if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then\n  \
      systemctl disable --now @NAME@.service\nfi\n";

/// Lets systemd forget the unit. The database stays: it is what cannot be made again.
const AFTER_REMOVAL: &str = "#!/bin/sh\nset -e\n\
    if [ -d /run/systemd/system ]; then\n  systemctl daemon-reload\nfi\n";

const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
    Upstream-Name: ailurus\n\nFiles: *\nCopyright: 2026 the Ailurus developers\nLicense: Apache-2.0\n \
    On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.\n";

/// Writes the package's change log, as Debian's rules want one.
fn put_changelog(tree: &Path, name: &str, time: u64) -> anyhow::Result<()> {
    let output = shell::command("date")
        .args(["--utc", "--rfc-email", "--date", &format!("@{time}")])
        .output()
        .context("`date` cannot be started")?;
    let date = String::from_utf8(output.stdout)?;
    let text = format!(
        "{name} ({VERSION}) unstable; urgency=medium\n\n  * Release {VERSION}.\n\n \
         -- {MAINTAINER}  {date}"
    );
    let mut zipper = GzBuilder::new().write(Vec::new(), Compression::best());
    zipper.write_all(text.as_bytes())?;
    let path = format!("usr/share/doc/{name}/changelog.gz");
    put(tree, &path, &zipper.finish()?, 0o644)
}

/// Writes a file below the tree, and the folders that it needs.
fn put(tree: &Path, name: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let path = tree.join(name);
    let parent = path.parent().context("a packed file lies in a folder")?;
    fs::create_dir_all(parent)?;
    // Whatever the mask of the one who builds.
    for folder in parent
        .ancestors()
        .take_while(|folder| folder.starts_with(tree))
    {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    fs::write(&path, bytes).with_context(|| format!("`{}` cannot be written", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

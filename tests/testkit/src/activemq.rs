//! Debian's `ActiveMQ`: a message broker that speaks STOMP, with queues and topics.
//!
//! It needs Java. Where something is missing, `start` says so and gives none, and the test goes
//! without it; with `AILURUS_STORAGE=all` in the environment that is an error.

use std::{fs, net::TcpStream, path::Path, time::Duration};

use anyhow::Context as _;

use crate::server::{self, Server};

/// What helps on Debian.
const ADVICE: &str = "apt-get install activemq default-jre-headless";
/// Where Debian's package puts the program.
const PROGRAM: &str = "/usr/share/activemq/bin/activemq.jar";
/// Limit on a look at the port.
const LOOK: Duration = Duration::from_millis(200);

/// A running broker. It ends with this value.
#[derive(Debug)]
pub struct ActiveMq {
    /// None while it is stopped.
    server: Option<Server>,
    folder: std::path::PathBuf,
    port: u16,
}

impl ActiveMq {
    /// Starts a broker below an empty folder of its own. None if the machine has none.
    ///
    /// # Errors
    ///
    /// It does not start; the message has the end of its log.
    pub fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let is_complete = Path::new(PROGRAM).is_file() && server::are_there(&["java"], ADVICE)?;
        if !is_complete {
            server::say_missing(PROGRAM, ADVICE)?;
            return Ok(None);
        }
        for place in ["conf", "data", "tmp"] {
            fs::create_dir_all(folder.join(place))
                .with_context(|| format!("`{}` cannot be made", folder.display()))?;
        }
        let mut broker = Self {
            server: None,
            folder: folder.canonicalize()?,
            port: 0,
        };
        broker.run(None)?;
        Ok(Some(broker))
    }

    /// Returns the port for STOMP on `127.0.0.1`.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills it at once. What it has confirmed is on disk.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again at the same port, with what it had.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.run(Some(self.port))
    }

    fn run(&mut self, old: Option<u16>) -> anyhow::Result<()> {
        let (folder, mut port) = (self.folder.clone(), self.port);
        let server = Server::start("ActiveMQ", &folder, None, is_ready, || {
            port = match old {
                Some(port) => port,
                None => server::free_port()?,
            };
            fs::write(folder.join("conf/activemq.xml"), configuration(port))?;
            fs::write(folder.join("port"), port.to_string())?;
            Ok(command(&folder))
        })?;
        (self.server, self.port) = (Some(server), port);
        Ok(())
    }
}

fn command(folder: &Path) -> Vec<String> {
    let base = folder.display();
    [
        "java".to_owned(),
        "-Xmx256m".to_owned(),
        format!("-Djava.io.tmpdir={base}/tmp"),
        "-Dactivemq.home=/usr/share/activemq".to_owned(),
        format!("-Dactivemq.base={base}"),
        format!("-Dactivemq.conf={base}/conf"),
        format!("-Dactivemq.data={base}/data"),
        "-jar".to_owned(),
        PROGRAM.to_owned(),
        "start".to_owned(),
        format!("xbean:file:{base}/conf/activemq.xml"),
    ]
    .to_vec()
}

fn is_ready(folder: &Path) -> bool {
    let port = fs::read_to_string(folder.join("port"));
    let port = port.ok().and_then(|text| text.parse::<u16>().ok());
    port.is_some_and(|port| {
        TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), LOOK).is_ok()
    })
}

fn configuration(port: u16) -> String {
    format!(
        r#"<beans xmlns="http://www.springframework.org/schema/beans"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans-2.0.xsd http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <bean class="org.springframework.beans.factory.config.PropertyPlaceholderConfigurer"/>
  <broker xmlns="http://activemq.apache.org/schema/core" useJmx="false" brokerName="localhost" dataDirectory="${{activemq.base}}/data">
    <persistenceAdapter><kahaDB directory="${{activemq.base}}/data/kahadb"/></persistenceAdapter>
    <transportConnectors><transportConnector name="stomp" uri="stomp://127.0.0.1:{port}"/></transportConnectors>
  </broker>
</beans>
"#
    )
}

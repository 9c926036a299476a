//! Asks Rucio where inputs are, and translates between its words and the core's.
//!
//! What is asked and which replica is taken is decided by the core. Without an answer it goes on
//! with what follows from the names of storages, or fails with the problem that is told here.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use ailurus_model::{Checksum, ErrorCode, NodeName};
use ailurus_pilot_core::{
    Problem,
    data::catalogue::{self, CatalogueFile, ReplicaQuery},
};
use ailurus_rucio::{RucioClient, RucioError};
use ailurus_wire::rucio::{Did, replicas as wire};

use crate::{log, settings::RucioSettings};

/// How replicas that are not at this site are ordered.
const SORT: &str = "geoip";
/// How long signed URLs of object stores are to live: Pilot 3's day.
const SIGNATURE_LIFETIME: Duration = Duration::from_secs(86_400);

/// The catalogue of replicas.
#[derive(Debug)]
pub(crate) struct Catalogue {
    settings: RucioSettings,
    location: wire::ClientLocation,
    /// Made when it is first needed: most queues' certificates take time to read.
    client: OnceLock<Result<RucioClient, Problem>>,
}

impl Catalogue {
    /// Makes the catalogue. What is wrong with the settings is told when it is asked.
    pub(crate) fn new(settings: &RucioSettings, node: &NodeName) -> Self {
        Self {
            location: wire::ClientLocation {
                fqdn: Some(node.to_string()).filter(|name| !name.is_empty()),
                site: settings.site.clone(),
                ..wire::ClientLocation::default()
            },
            settings: settings.clone(),
            client: OnceLock::new(),
        }
    }

    fn client(&self) -> Result<&RucioClient, Problem> {
        let make = || match &self.settings.client {
            Ok(config) => RucioClient::new((**config).clone()).map_err(|error| problem_of(&error)),
            Err(error) => Err(Problem::new(
                ErrorCode::RucioListReplicasFailed,
                error.to_string(),
            )),
        };
        self.client.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// Asks where files are. Those that the catalogue does not know are left out.
    ///
    /// # Errors
    ///
    /// 1322, or 1338 if the pilot is not believed. Setting `stop` ends pauses between tries.
    pub(crate) fn find(
        &self,
        query: &ReplicaQuery,
        stop: &Arc<AtomicBool>,
    ) -> Result<Vec<CatalogueFile>, Problem> {
        let client = self.client()?;
        let names = query.files.iter();
        let files: Vec<Did> = names
            .map(|(scope, lfn)| Did::new(scope.clone(), lfn.as_str()))
            .collect();
        let question = wire::ReplicaQuery {
            schemes: query.schemes.clone(),
            sort: Some(SORT.to_owned()),
            location: self.location.clone(),
            signature_lifetime: Some(SIGNATURE_LIFETIME),
            rse_expression: query.rse_expression.clone(),
            doors: wire::Doors::BySite,
            switched_off: match query.switched_off {
                catalogue::SwitchedOff::Told => wire::SwitchedOff::Told,
                catalogue::SwitchedOff::LeftOut => wire::SwitchedOff::LeftOut,
            },
        };
        let mut found = Vec::new();
        let listing = client
            .with_stop(stop.clone())
            .list_replicas(&files, &question, |file| found.push(file_of(file)));
        let listing = listing.map_err(|error| problem_of(&error))?;
        for unknown in &listing.unknown {
            tracing::warn!("Rucio at {} does not know `{unknown}`", client.host());
        }
        Ok(found)
    }
}

fn file_of(file: wire::FileReplicas) -> CatalogueFile {
    // Adler-32 is the cheaper one to compare.
    let checksums: Vec<Checksum> = file.adler32.into_iter().chain(file.md5).collect();
    let usable = file.replicas.into_iter().filter(|it| !it.is_in_archive);
    let replicas = usable.map(|replica| catalogue::Replica {
        endpoint: replica.rse,
        url: replica.pfn,
        priority: replica.priority,
        medium: match replica.medium {
            wire::Medium::Disk => catalogue::Medium::Disk,
            wire::Medium::Tape => catalogue::Medium::Tape,
        },
    });
    CatalogueFile {
        scope: file.scope,
        lfn: file.name,
        size: file.size,
        checksums,
        replicas: replicas.collect(),
    }
}

fn problem_of(error: &RucioError) -> Problem {
    let detail = format!("{}: {}", log::chain(error), error.remedy());
    Problem::new(error.code(), detail)
}

#[cfg(test)]
mod tests {
    use ailurus_http::Secret;
    use ailurus_model::{ByteCount, EndpointName, Lfn, Scope};
    use ailurus_rucio::{Credential, Retries, RucioConfig};
    use ailurus_testkit::{http::Answer, stand_in::HttpStandIn};
    use ailurus_wire::rucio::auth;

    use super::*;
    use crate::settings::RucioSettingsError;

    fn with(client: Result<RucioConfig, RucioSettingsError>) -> Catalogue {
        let settings = RucioSettings {
            client: client.map(Box::new),
            site: Some("JINR".into()),
            local_site: None,
            traces: None,
        };
        Catalogue::new(&settings, &NodeName::new("wn1.example.org"))
    }

    fn at(url: String) -> Catalogue {
        let credential = Credential::Token(Secret::new("t"));
        with(Ok(RucioConfig {
            retries: Retries {
                pause_first: Duration::ZERO,
                ..Retries::default()
            },
            ..RucioConfig::new(url, credential)
        }))
    }

    fn query() -> ReplicaQuery {
        ReplicaQuery {
            files: vec![
                (Scope::new("s"), Lfn::new("f")),
                (Scope::new("s"), Lfn::new("unknown")),
            ],
            schemes: vec!["root".into()],
            rse_expression: None,
            switched_off: catalogue::SwitchedOff::LeftOut,
        }
    }

    fn replica(rse: &str, medium: wire::Medium) -> wire::Replica {
        wire::Replica {
            rse: EndpointName::new(rse),
            pfn: format!("root://{rse}//f"),
            domain: wire::Domain::Wan,
            priority: 7,
            medium,
            is_in_archive: rse == "ARCHIVE",
        }
    }

    #[test]
    fn what_rucio_says_is_what_the_core_gets() {
        let answer = wire::encode_answer(&[wire::FileReplicas {
            scope: Scope::new("s"),
            name: Lfn::new("f"),
            size: Some(ByteCount::from_bytes(5)),
            adler32: Some(Checksum::Adler32(1)),
            md5: None,
            replicas: vec![
                replica("ARCHIVE", wire::Medium::Disk),
                replica("DISK", wire::Medium::Disk),
                replica("TAPE", wire::Medium::Tape),
            ],
        }]);
        let server = HttpStandIn::start(move |_| Some(Answer::new(200, answer.clone())));
        let server = server.expect("a free port");
        let found = at(server.url()).find(&query(), &Arc::default());
        let [file] = &found.expect("an answer")[..] else {
            panic!("one file");
        };
        assert_eq!(file.size, Some(ByteCount::from_bytes(5)));
        assert_eq!(file.checksums, [Checksum::Adler32(1)]);
        let replicas = file.replicas.iter();
        let replicas: Vec<_> = replicas
            .map(|it| (it.endpoint.as_str(), it.priority, it.medium))
            .collect();
        let (disk, tape) = (catalogue::Medium::Disk, catalogue::Medium::Tape);
        assert_eq!(replicas, [("DISK", 7, disk), ("TAPE", 7, tape)]);
        let request = &server.requests()[0];
        assert_eq!(request.header(auth::TOKEN), Some("t"));
        let asked = String::from_utf8_lossy(&request.body);
        for part in [
            r#""site":"JINR""#,
            r#""fqdn":"wn1.example.org""#,
            r#""ignore_availability":false"#,
            r#""signature_lifetime":86400"#,
        ] {
            assert!(asked.contains(part), "{asked}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_code_and_what_to_do() {
        let broken = HttpStandIn::start(|_| Some(Answer::new(503, "")));
        let broken = broken.expect("a free port");
        let problem = at(broken.url()).find(&query(), &Arc::default());
        let problem = problem.expect_err("no answer");
        assert_eq!(problem.code, ErrorCode::RucioListReplicasFailed);
        assert!(problem.detail.contains("503"), "{problem}");
        let error = RucioSettingsError::AuthType { kind: "ssh".into() };
        let problem = with(Err(error)).find(&query(), &Arc::default());
        let problem = problem.expect_err("no way in");
        assert_eq!(problem.code, ErrorCode::RucioListReplicasFailed);
        assert!(problem.detail.contains("`ssh`"), "{problem}");
    }
}

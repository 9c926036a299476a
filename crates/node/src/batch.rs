//! Recognises the batch system from the environment of a slot. Pure.

use std::collections::BTreeMap;

/// A batch system that may have started the pilot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BatchSystem {
    /// BQS of CC-IN2P3.
    Bqs,
    /// PBS and its relatives.
    Torque,
    /// IBM's LSF.
    Lsf,
    /// Grid Engine and its relatives.
    GridEngine,
    /// `HTCondor`.
    Condor,
    /// Slurm.
    Slurm,
    /// Kubernetes.
    Kubernetes,
}

/// The batch system and its id of the job in which this pilot runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchIdentity {
    /// The batch system.
    pub system: BatchSystem,
    /// Its id of the job.
    pub id: String,
}

/// Variables in the order in which they are looked at: the first that is set wins.
///
/// Source: Pilot 3, `pilot/util/auxiliary.py`, `get_batchsystem_jobid`.
const VARIABLES: [(&str, BatchSystem); 8] = [
    ("QSUB_REQNAME", BatchSystem::Bqs),
    ("BQSCLUSTER", BatchSystem::Bqs),
    ("PBS_JOBID", BatchSystem::Torque),
    ("LSB_JOBID", BatchSystem::Lsf),
    ("JOB_ID", BatchSystem::GridEngine),
    ("clusterid", BatchSystem::Condor),
    ("SLURM_JOB_ID", BatchSystem::Slurm),
    ("K8S_JOB_ID", BatchSystem::Kubernetes),
];

impl BatchSystem {
    /// Returns the name that Pilot 3 reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bqs => "BQS",
            Self::Torque => "Torque",
            Self::Lsf => "LSF",
            Self::GridEngine => "Grid Engine",
            Self::Condor => "Condor",
            Self::Slurm => "SLURM",
            Self::Kubernetes => "Kubernetes",
        }
    }
}

/// Finds the batch system from environment variables. Empty values count as not set.
///
/// `HTCondor` slots without any of these variables are known by their job ad: see
/// [`condor_job_id`].
#[must_use]
pub fn batch_of(env: &BTreeMap<String, String>) -> Option<BatchIdentity> {
    VARIABLES.iter().find_map(|(variable, system)| {
        let id = env.get(*variable).filter(|id| !id.is_empty())?;
        Some(BatchIdentity {
            system: *system,
            id: id.clone(),
        })
    })
}

/// Finds the global job id in the text of an `HTCondor` job ad, the file that `_CONDOR_JOB_AD`
/// names.
#[must_use]
pub fn condor_job_id(job_ad: &str) -> Option<BatchIdentity> {
    let id = job_ad.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("GlobalJobId")
            .then(|| value.trim().trim_matches('"'))
    })?;
    (!id.is_empty()).then(|| BatchIdentity {
        system: BatchSystem::Condor,
        id: id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn found(variables: &[(&str, &str)]) -> Option<(&'static str, String)> {
        batch_of(&env(variables)).map(|it| (it.system.as_str(), it.id))
    }

    #[test]
    fn each_system_is_known_by_its_variable() {
        assert_eq!(
            found(&[("SLURM_JOB_ID", "17")]),
            Some(("SLURM", "17".into()))
        );
        assert_eq!(
            found(&[("PBS_JOBID", "5.pbs")]),
            Some(("Torque", "5.pbs".into()))
        );
        assert_eq!(found(&[("LSB_JOBID", "9")]), Some(("LSF", "9".into())));
        assert_eq!(found(&[("JOB_ID", "3")]), Some(("Grid Engine", "3".into())));
        assert_eq!(
            found(&[("K8S_JOB_ID", "pod")]),
            Some(("Kubernetes", "pod".into()))
        );
        assert_eq!(found(&[("HOME", "/")]), None);
    }

    #[test]
    fn the_first_in_pilot_3s_order_wins() {
        let both = [("SLURM_JOB_ID", "17"), ("PBS_JOBID", "5")];
        assert_eq!(found(&both), Some(("Torque", "5".into())));
        let empty = [("SLURM_JOB_ID", "17"), ("PBS_JOBID", "")];
        assert_eq!(found(&empty), Some(("SLURM", "17".into())));
    }

    #[test]
    fn a_condor_slot_is_known_by_its_job_ad() {
        let ad = "MyType = \"Job\"\nGlobalJobId = \"schedd.example.org#17.0#1700000000\"\n";
        let identity = condor_job_id(ad).expect("there");
        assert_eq!(identity.system, BatchSystem::Condor);
        assert_eq!(identity.id, "schedd.example.org#17.0#1700000000");
        assert_eq!(condor_job_id("MyType = \"Job\"\n"), None);
    }
}

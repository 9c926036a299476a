//! Whose fault a problem is: one job's, or that of the node on which every further job would fail.

use ailurus_model::ErrorCode;

/// Problems that come from the node, its mounts or its credentials, and meet the next job too.
const NODE_FAULTS: [ErrorCode; 12] = [
    ErrorCode::NoLocalSpace,
    ErrorCode::Mkdir,
    ErrorCode::NoProxy,
    ErrorCode::NoVomsProxy,
    ErrorCode::CertificateHasExpired,
    ErrorCode::CvmfsIsNotAlive,
    ErrorCode::NoSoftwareDir,
    ErrorCode::UnreachableNetwork,
    ErrorCode::StageInAuthenticationFailure,
    ErrorCode::SingularityNotInstalled,
    ErrorCode::BlackHole,
    ErrorCode::MiddlewareImportFailure,
];

/// Says whether a problem before the payload's start means that this node can run no further job.
///
/// A file that is missing, damaged or late is the job's, or its storage's: the next job reads
/// others.
#[must_use]
pub fn is_fault_of_node(code: ErrorCode) -> bool {
    NODE_FAULTS.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_the_nodes_and_a_bad_file_is_the_jobs() {
        assert!(is_fault_of_node(ErrorCode::NoLocalSpace));
        for code in [
            ErrorCode::MissingInputFile,
            ErrorCode::GetAdMismatch,
            ErrorCode::StageInFailed,
            ErrorCode::StageInTimeout,
            ErrorCode::NoReplicas,
        ] {
            assert!(!is_fault_of_node(code), "{code}");
        }
    }
}

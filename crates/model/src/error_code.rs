//! The registry of pilot error codes: PanDA's numbers, names and messages, and whom to ask.
//!
//! Numbers, names and messages are those of Pilot 3 (`pilot/common/errorcodes.py`), because
//! servers, dashboards and people know them. What each code means for a person, and what helps,
//! stands in the error catalogue, which has an entry for every code of this table.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who can do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The program that the user runs.
    Payload,
    /// The person who submitted: wrong names, sizes or options.
    User,
    /// The worker node or the site's set-up.
    Site,
    /// The storage that holds inputs or takes outputs.
    Storage,
    /// The network, or a service behind it.
    Network,
    /// The PanDA server.
    Server,
    /// The pilot itself.
    Pilot,
    /// The batch system, which ended the slot.
    Batch,
    /// A proxy, certificate or token.
    Credentials,
}

impl Blame {
    /// Returns the word used in files, JSON and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payload => "payload",
            Self::User => "user",
            Self::Site => "site",
            Self::Storage => "storage",
            Self::Network => "network",
            Self::Server => "server",
            Self::Pilot => "pilot",
            Self::Batch => "batch",
            Self::Credentials => "credentials",
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether trying again can help, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// The same will happen again.
    Never,
    /// Another try may work, also at the same place.
    Later,
    /// Another try may work, best at another place.
    Elsewhere,
}

macro_rules! error_codes {
    ($($variant:ident = $number:literal, $name:literal, $message:literal, $blame:ident, $retry:ident;)*) => {
        /// A pilot error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("`", $name, "` (", stringify!($number), "): ", $message, ".")]
                $variant = $number,
            )*
        }

        impl ErrorCode {
            /// Every code, by rising number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns PanDA's name, for example `STAGEINFAILED`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Returns Pilot 3's standard message.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message),* }
            }

            /// Says who can do something about it, where the code alone tells.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self { $(Self::$variant => Blame::$blame),* }
            }

            /// Says whether trying again can help, where the code alone tells.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry),* }
            }
        }
    };
}

error_codes! {
    GeneralError = 1008, "GENERALERROR", "General pilot error, consult batch log", Pilot, Later;
    NoLocalSpace = 1098, "NOLOCALSPACE", "Not enough local space", Site, Elsewhere;
    StageInFailed = 1099, "STAGEINFAILED", "Failed to stage-in file", Storage, Elsewhere;
    ReplicaNotFound = 1100, "REPLICANOTFOUND", "Replica not found", Storage, Elsewhere;
    NoSuchFile = 1103, "NOSUCHFILE", "No such file or directory", Storage, Elsewhere;
    UserDirTooLarge = 1104, "USERDIRTOOLARGE", "User work directory too large", User, Never;
    StdoutTooBig = 1106, "STDOUTTOOBIG", "Payload log or stdout file too big", User, Never;
    SetupFailure = 1110, "SETUPFAILURE", "Failed during payload setup", Site, Elsewhere;
    NfsSqlite = 1115, "NFSSQLITE", "NFS SQLite locking problems", Site, Elsewhere;
    QueueData = 1116, "QUEUEDATA", "Pilot could not download queuedata", Site, Elsewhere;
    QueueDataNotOk = 1117, "QUEUEDATANOTOK", "Pilot found non-valid queuedata", Site, Elsewhere;
    OutputFileTooLarge = 1124, "OUTPUTFILETOOLARGE", "Output file too large", User, Never;
    NoStorage = 1133, "NOSTORAGE", "Fetching default storage failed: no activity related storage defined", Site, Elsewhere;
    StageOutFailed = 1137, "STAGEOUTFAILED", "Failed to stage-out file", Storage, Elsewhere;
    PutMd5Mismatch = 1141, "PUTMD5MISMATCH", "md5sum mismatch on output file", Storage, Elsewhere;
    ChmodTrf = 1143, "CHMODTRF", "Failed to chmod transform", Site, Elsewhere;
    PandaKill = 1144, "PANDAKILL", "This job was killed by panda server", Server, Never;
    GetMd5Mismatch = 1145, "GETMD5MISMATCH", "md5sum mismatch on input file", Storage, Elsewhere;
    TrfDownloadFailure = 1149, "TRFDOWNLOADFAILURE", "Transform could not be downloaded", User, Never;
    LoopingJob = 1150, "LOOPINGJOB", "Looping job killed by pilot", User, Never;
    StageInTimeout = 1151, "STAGEINTIMEOUT", "File transfer timed out during stage-in", Storage, Elsewhere;
    StageOutTimeout = 1152, "STAGEOUTTIMEOUT", "File transfer timed out during stage-out", Storage, Elsewhere;
    NoProxy = 1163, "NOPROXY", "Grid proxy not valid", Credentials, Elsewhere;
    MissingOutputFile = 1165, "MISSINGOUTPUTFILE", "Local output file is missing", User, Never;
    SizeTooLarge = 1168, "SIZETOOLARGE", "Total file size too large", Site, Never;
    GetAdMismatch = 1171, "GETADMISMATCH", "adler32 mismatch on input file", Storage, Elsewhere;
    PutAdMismatch = 1172, "PUTADMISMATCH", "adler32 mismatch on output file", Storage, Elsewhere;
    NoVomsProxy = 1177, "NOVOMSPROXY", "Voms proxy not valid", Credentials, Elsewhere;
    GetGlobusSysErr = 1180, "GETGLOBUSSYSERR", "Globus system error during stage-in", Storage, Elsewhere;
    PutGlobusSysErr = 1181, "PUTGLOBUSSYSERR", "Globus system error during stage-out", Storage, Elsewhere;
    NoSoftwareDir = 1186, "NOSOFTWAREDIR", "Software directory does not exist", Site, Elsewhere;
    NoPayloadMetadata = 1187, "NOPAYLOADMETADATA", "Payload metadata does not exist", Payload, Later;
    LfnTooLong = 1190, "LFNTOOLONG", "LFN too long (exceeding limit of 255 characters)", User, Never;
    ZeroFileSize = 1191, "ZEROFILESIZE", "File size cannot be zero", User, Never;
    Mkdir = 1199, "MKDIR", "Failed to create directory", Site, Elsewhere;
    KillSignal = 1200, "KILLSIGNAL", "Job terminated by unknown kill signal", Batch, Later;
    Sigterm = 1201, "SIGTERM", "Job killed by signal: SIGTERM", Batch, Later;
    Sigquit = 1202, "SIGQUIT", "Job killed by signal: SIGQUIT", Batch, Later;
    Sigsegv = 1203, "SIGSEGV", "Job killed by signal: SIGSEGV", Batch, Elsewhere;
    Sigxcpu = 1204, "SIGXCPU", "Job killed by signal: SIGXCPU", Batch, Later;
    UserKill = 1205, "USERKILL", "Job killed by user", User, Never;
    Sigbus = 1206, "SIGBUS", "Job killed by signal: SIGBUS", Batch, Later;
    Sigusr1 = 1207, "SIGUSR1", "Job killed by signal: SIGUSR1", Batch, Later;
    Sigint = 1208, "SIGINT", "Job killed by signal: SIGINT", Batch, Later;
    MissingInstallation = 1211, "MISSINGINSTALLATION", "Missing installation", Site, Elsewhere;
    PayloadOutOfMemory = 1212, "PAYLOADOUTOFMEMORY", "Payload ran out of memory", Payload, Later;
    ReachedMaxTime = 1213, "REACHEDMAXTIME", "Reached batch system time limit", Batch, Later;
    UnknownPayloadFailure = 1220, "UNKNOWNPAYLOADFAILURE", "Job failed due to unknown reason (consult log file)", Payload, Later;
    FileExists = 1221, "FILEEXISTS", "File already exists", Storage, Elsewhere;
    BadAlloc = 1223, "BADALLOC", "Transform failed due to bad_alloc", Payload, Later;
    EsRecoverable = 1224, "ESRECOVERABLE", "Event service: recoverable error", Payload, Later;
    EsFatal = 1228, "ESFATAL", "Event service: fatal error", Payload, Later;
    ExecutedCloneJob = 1234, "EXECUTEDCLONEJOB", "Clone job is already executed", Payload, Later;
    PayloadExceedMaxMem = 1235, "PAYLOADEXCEEDMAXMEM", "Payload exceeded maximum allowed memory", Payload, Later;
    FailedByServer = 1236, "FAILEDBYSERVER", "Failed by server", Server, Never;
    EsNoEvents = 1238, "ESNOEVENTS", "Event service: no events", Payload, Later;
    MessageHandlingFailure = 1240, "MESSAGEHANDLINGFAILURE", "Failed to handle message from payload", Payload, Later;
    ChecksumNotSupported = 1242, "CHKSUMNOTSUP", "Query checksum is not supported", Storage, Elsewhere;
    NoReleaseFound = 1244, "NORELEASEFOUND", "No release candidates found", Site, Elsewhere;
    NoUserTarball = 1246, "NOUSERTARBALL", "User tarball could not be downloaded from PanDA server", Server, Later;
    BadXml = 1247, "BADXML", "Badly formed XML", Payload, Later;
    NotImplemented = 1300, "NOTIMPLEMENTED", "The class or function is not implemented", Pilot, Later;
    UnknownException = 1301, "UNKNOWNEXCEPTION", "An unknown pilot exception has occurred", Pilot, Later;
    ConversionFailure = 1302, "CONVERSIONFAILURE", "Failed to convert object data", Pilot, Later;
    FileHandlingFailure = 1303, "FILEHANDLINGFAILURE", "Failed during file handling", Pilot, Later;
    PayloadExecutionFailure = 1305, "PAYLOADEXECUTIONFAILURE", "Failed to execute payload", Payload, Later;
    SingularityGeneralFailure = 1306, "SINGULARITYGENERALFAILURE", "Singularity/Apptainer: general failure", Site, Elsewhere;
    SingularityNoLoopDevices = 1307, "SINGULARITYNOLOOPDEVICES", "Singularity/Apptainer: No more available loop devices", Site, Elsewhere;
    SingularityBindPointFailure = 1308, "SINGULARITYBINDPOINTFAILURE", "Singularity/Apptainer: Not mounting requested bind point", Site, Elsewhere;
    SingularityImageMountFailure = 1309, "SINGULARITYIMAGEMOUNTFAILURE", "Singularity/Apptainer: Failed to mount image", Site, Elsewhere;
    PayloadExecutionException = 1310, "PAYLOADEXECUTIONEXCEPTION", "Exception caught during payload execution", Pilot, Later;
    NotDefined = 1311, "NOTDEFINED", "Not defined", Site, Elsewhere;
    NotSameLength = 1312, "NOTSAMELENGTH", "Not same length", Pilot, Later;
    NoStorageProtocol = 1313, "NOSTORAGEPROTOCOL", "No protocol defined for storage endpoint", Site, Elsewhere;
    UnknownChecksumType = 1314, "UNKNOWNCHECKSUMTYPE", "Unknown checksum type", Site, Never;
    UnknownTrfFailure = 1315, "UNKNOWNTRFFAILURE", "Unknown transform failure", Payload, Later;
    RucioServiceUnavailable = 1316, "RUCIOSERVICEUNAVAILABLE", "Rucio: Service unavailable", Network, Later;
    ExceededMaxWaitTime = 1317, "EXCEEDEDMAXWAITTIME", "Exceeded maximum waiting time", Pilot, Later;
    CommunicationFailure = 1318, "COMMUNICATIONFAILURE", "Failed to communicate with server", Server, Later;
    InternalPilotProblem = 1319, "INTERNALPILOTPROBLEM", "An internal Pilot problem has occurred (consult Pilot log)", Pilot, Later;
    LogFileCreationFailure = 1320, "LOGFILECREATIONFAILURE", "Failed during creation of log file", Site, Elsewhere;
    RucioLocationFailed = 1321, "RUCIOLOCATIONFAILED", "Failed to get client location for Rucio", Network, Elsewhere;
    RucioListReplicasFailed = 1322, "RUCIOLISTREPLICASFAILED", "Failed to get replicas from Rucio", Network, Later;
    UnknownCopyTool = 1323, "UNKNOWNCOPYTOOL", "Unknown copy tool", Site, Never;
    ServiceNotAvailable = 1324, "SERVICENOTAVAILABLE", "Service not available at the moment", Network, Later;
    SingularityNotInstalled = 1325, "SINGULARITYNOTINSTALLED", "Singularity: not installed", Site, Elsewhere;
    NoReplicas = 1326, "NOREPLICAS", "No matching replicas were found in list_replicas() output", Storage, Elsewhere;
    UnreachableNetwork = 1327, "UNREACHABLENETWORK", "Unable to stage-in file since network is unreachable", Site, Elsewhere;
    PayloadSigsegv = 1328, "PAYLOADSIGSEGV", "SIGSEGV: Invalid memory reference or a segmentation fault", Payload, Later;
    NonDeterministicDdm = 1329, "NONDETERMINISTICDDM", "Failed to construct SURL for non-deterministic ddm (update CRIC)", Site, Elsewhere;
    JsonRetrievalTimeout = 1330, "JSONRETRIEVALTIMEOUT", "JSON retrieval timed out", Network, Elsewhere;
    MissingInputFile = 1331, "MISSINGINPUTFILE", "Input file is missing in storage element", Storage, Elsewhere;
    BlackHole = 1332, "BLACKHOLE", "Black hole detected in file system (consult Pilot log)", Site, Elsewhere;
    NoRemoteSpace = 1333, "NOREMOTESPACE", "No space left on device", Storage, Elsewhere;
    SetupFatal = 1334, "SETUPFATAL", "Setup failed with a fatal exception (consult Payload log)", Site, Elsewhere;
    MissingUserCode = 1335, "MISSINGUSERCODE", "User code not available on PanDA server (resubmit task with --useNewCode)", User, Never;
    JobAlreadyRunning = 1336, "JOBALREADYRUNNING", "Job is already running elsewhere", Server, Later;
    BadMemoryMonitorJson = 1337, "BADMEMORYMONITORJSON", "Memory monitor produced bad output", Pilot, Later;
    StageInAuthenticationFailure = 1338, "STAGEINAUTHENTICATIONFAILURE", "Authentication failure during stage-in", Credentials, Elsewhere;
    DbReleaseFailure = 1339, "DBRELEASEFAILURE", "Local DBRelease handling failed (consult Pilot log)", Site, Elsewhere;
    SingularityNewUserNamespace = 1340, "SINGULARITYNEWUSERNAMESPACE", "Singularity/Apptainer: Failed invoking the NEWUSER namespace runtime", Site, Elsewhere;
    BadQueueConfiguration = 1341, "BADQUEUECONFIGURATION", "Bad queue configuration detected", Site, Elsewhere;
    MiddlewareImportFailure = 1342, "MIDDLEWAREIMPORTFAILURE", "Failed to import middleware (consult Pilot log)", Site, Elsewhere;
    NoOutputInJobReport = 1343, "NOOUTPUTINJOBREPORT", "Found no output in job report", Payload, Later;
    ResourceUnavailable = 1344, "RESOURCEUNAVAILABLE", "Resource temporarily unavailable", Site, Elsewhere;
    SingularityFailedUserNamespace = 1345, "SINGULARITYFAILEDUSERNAMESPACE", "Singularity/Apptainer: Failed to create user namespace", Site, Elsewhere;
    TransformNotFound = 1346, "TRANSFORMNOTFOUND", "Transform not found", User, Never;
    UnsupportedSl5Os = 1347, "UNSUPPORTEDSL5OS", "Unsupported SL5 OS", Site, Elsewhere;
    SingularityResourceUnavailable = 1348, "SINGULARITYRESOURCEUNAVAILABLE", "Singularity/Apptainer: Resource temporarily unavailable", Site, Elsewhere;
    UnrecognizedTrfArguments = 1349, "UNRECOGNIZEDTRFARGUMENTS", "Unrecognized transform arguments", User, Never;
    EmptyOutputFile = 1350, "EMPTYOUTPUTFILE", "Empty output file detected", User, Never;
    UnrecognizedTrfStderr = 1351, "UNRECOGNIZEDTRFSTDERR", "Unrecognized fatal error in transform stderr", Payload, Later;
    StatFileProblem = 1352, "STATFILEPROBLEM", "Failed to stat proc file for CPU consumption calculation", Pilot, Later;
    NoSuchProcess = 1353, "NOSUCHPROCESS", "CPU consumption calculation failed: No such process", Pilot, Later;
    GeneralCpuCalcProblem = 1354, "GENERALCPUCALCPROBLEM", "General CPU consumption calculation problem (consult Pilot log)", Pilot, Later;
    CoreDump = 1355, "COREDUMP", "Core dump detected", Payload, Later;
    PreProcessFailure = 1356, "PREPROCESSFAILURE", "Pre-process command failed", User, Never;
    PostProcessFailure = 1357, "POSTPROCESSFAILURE", "Post-process command failed", User, Never;
    MissingReleaseUnpacked = 1358, "MISSINGRELEASEUNPACKED", "Missing release setup in unpacked container", Site, Elsewhere;
    PandaQueueNotActive = 1359, "PANDAQUEUENOTACTIVE", "PanDA queue is not active", Site, Elsewhere;
    ImageNotFound = 1360, "IMAGENOTFOUND", "Image not found", User, Never;
    RemoteFileCouldNotBeOpened = 1361, "REMOTEFILECOULDNOTBEOPENED", "Remote file could not be opened", Storage, Elsewhere;
    XrdcpError = 1362, "XRDCPERROR", "Xrdcp was unable to open file", Storage, Elsewhere;
    KillPayload = 1363, "KILLPAYLOAD", "Raythena has decided to kill payload", Pilot, Never;
    MissingCredentials = 1364, "MISSINGCREDENTIALS", "Unable to locate credentials for S3 transfer", Credentials, Elsewhere;
    NoCtypes = 1365, "NOCTYPES", "Python module ctypes not available on worker node", Site, Elsewhere;
    ChecksumCalcFailure = 1366, "CHECKSUMCALCFAILURE", "Failure during checksum calculation", Site, Elsewhere;
    CommandTimedOut = 1367, "COMMANDTIMEDOUT", "Command timed out", Pilot, Later;
    RemoteFileOpenTimedOut = 1368, "REMOTEFILEOPENTIMEDOUT", "Remote file open timed out", Storage, Elsewhere;
    Frontier = 1369, "FRONTIER", "Frontier error", Network, Later;
    VomsProxyAboutToExpire = 1370, "VOMSPROXYABOUTTOEXPIRE", "VOMS proxy is about to expire", Pilot, Later;
    BadOutputFileName = 1371, "BADOUTPUTFILENAME", "Output file name contains illegal characters", User, Never;
    ApptainerNotInstalled = 1372, "APPTAINERNOTINSTALLED", "Apptainer: not installed", Site, Elsewhere;
    CertificateHasExpired = 1373, "CERTIFICATEHASEXPIRED", "Certificate has expired", Credentials, Elsewhere;
    RemoteFileDictDoesNotExist = 1374, "REMOTEFILEDICTDOESNOTEXIST", "Remote file open dictionary does not exist", Site, Elsewhere;
    LeaseTime = 1375, "LEASETIME", "Lease time is up", Pilot, Never;
    LogCreationTimeout = 1376, "LOGCREATIONTIMEOUT", "Log file creation timed out", Site, Elsewhere;
    CvmfsIsNotAlive = 1377, "CVMFSISNOTALIVE", "CVMFS is not responding", Site, Elsewhere;
    LsetupTimedOut = 1378, "LSETUPTIMEDOUT", "Lsetup command timed out during remote file open", Site, Elsewhere;
    Preemption = 1379, "PREEMPTION", "Job was preempted", Batch, Later;
    ArcProxyFailure = 1380, "ARCPROXYFAILURE", "General arcproxy failure", Credentials, Elsewhere;
    ArcProxyLibFailure = 1381, "ARCPROXYLIBFAILURE", "Arcproxy failure while loading shared libraries", Site, Elsewhere;
    ProxyTooShort = 1382, "PROXYTOOSHORT", "Proxy is too short", Credentials, Elsewhere;
    StageOutAuthenticationFailure = 1383, "STAGEOUTAUTHENTICATIONFAILURE", "Authentication failure during stage-out", Credentials, Elsewhere;
    QueueNotSetupForContainers = 1384, "QUEUENOTSETUPFORCONTAINERS", "Queue is not set up for containers", Site, Elsewhere;
    NoJobsInPanda = 1385, "NOJOBSINPANDA", "No jobs in PanDA", Pilot, Later;
    PandaQueueNotOnline = 1386, "PANDAQUEUENOTONLINE", "PanDA queue is not online", Site, Elsewhere;
}

/// A number was not a pilot error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pilot error code")]
pub struct UnknownErrorCode(pub i64);

impl ErrorCode {
    /// Returns PanDA's number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Finds the code of a number. A negative number, which PanDA uses as a mark on the same
    /// code, stands for its absolute value.
    ///
    /// # Errors
    ///
    /// [`UnknownErrorCode`] if the registry has no such code.
    pub fn from_number(number: i64) -> Result<Self, UnknownErrorCode> {
        let wanted = u16::try_from(number.unsigned_abs()).map_err(|_| UnknownErrorCode(number))?;
        Self::ALL
            .binary_search_by_key(&wanted, |code| code.number())
            .map(|index| Self::ALL[index])
            .map_err(|_| UnknownErrorCode(number))
    }

    /// Returns the text for a heartbeat: the standard message and what happened here.
    #[must_use]
    pub fn diagnostics(self, detail: &str) -> String {
        match detail.trim() {
            "" => self.message().to_owned(),
            detail => format!("{}: {detail}", self.message()),
        }
    }

    /// Returns the code of a job that ends because the pilot got this signal.
    #[must_use]
    pub const fn of_signal(signal: i32) -> Self {
        match signal {
            2 => Self::Sigint,
            3 => Self::Sigquit,
            7 => Self::Sigbus,
            10 => Self::Sigusr1,
            11 => Self::Sigsegv,
            15 => Self::Sigterm,
            24 => Self::Sigxcpu,
            _ => Self::KillSignal,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number(), self.message())
    }
}

/// Codes are numbers in JSON.
impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.number())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        Self::from_number(number).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_has_all_codes_of_pilot_3_in_order() {
        assert_eq!(ErrorCode::ALL.len(), 147);
        assert!(
            ErrorCode::ALL
                .windows(2)
                .all(|pair| pair[0].number() < pair[1].number())
        );
    }

    #[test]
    fn every_code_is_found_by_its_number() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(i64::from(code.number())), Ok(*code));
        }
    }

    #[test]
    fn known_codes_keep_their_meaning() {
        assert_eq!(ErrorCode::NoLocalSpace.number(), 1098);
        assert_eq!(ErrorCode::StageInFailed.number(), 1099);
        assert_eq!(ErrorCode::StageOutFailed.number(), 1137);
        assert_eq!(ErrorCode::LoopingJob.number(), 1150);
        assert_eq!(ErrorCode::PandaQueueNotOnline.number(), 1386);
    }

    #[test]
    fn a_negative_number_is_the_same_code() {
        assert_eq!(ErrorCode::from_number(-1137), Ok(ErrorCode::StageOutFailed));
        assert_eq!(ErrorCode::from_number(5), Err(UnknownErrorCode(5)));
        assert_eq!(
            ErrorCode::from_number(i64::MIN),
            Err(UnknownErrorCode(i64::MIN))
        );
    }

    #[test]
    fn diagnostics_join_message_and_detail() {
        assert_eq!(
            ErrorCode::LoopingJob.diagnostics(""),
            "Looping job killed by pilot"
        );
        assert_eq!(
            ErrorCode::Mkdir.diagnostics("/x"),
            "Failed to create directory: /x"
        );
    }
}

//! Carries out what the core plans for the payload: starts it, waits for it, and gathers what it
//! left behind.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use ailurus_diagnosis::{Catalogue, Entry};
use ailurus_experiment::{CoreDumpPolicy, PayloadPlan, StepKind, plan::SETUP_FAILED_FILE};
use ailurus_model::{ByteCount, ErrorCode};
use ailurus_node::{free_space, usable_cpus};
use ailurus_pilot_core::{
    Problem,
    input::PayloadEnd,
    payload::report::REPORT_LENGTH_MAX,
    recovery::{MemoryShortage, PayloadExit, Symptom},
    resource::{
        cpus::{Cpu, at_positions, in_order},
        slots::Allotment,
    },
};
use ailurus_process::{
    Confinement, CoreDumps, Enforcement, Guard, PayloadCommand, RunningPayload, StartError,
};
use rustix::fs::{Mode, OFlags};

use crate::{container, log};

/// Most of the end of each output stream that is searched for known errors, in bytes.
const OUTPUT_TAIL_MAX: u64 = 4 << 20;
/// Most known errors that are looked for.
const SYMPTOMS_MAX: usize = 3;
/// Longest last words that are repeated, in bytes.
const LAST_WORDS_MAX: usize = 250;
/// Most of the file that a failed set-up leaves, in bytes.
const SETUP_FAILED_MAX: u64 = 64;
/// Most files of a job's directory that are named.
const FILES_MAX: usize = 100_000;
/// How messages name the known errors of a profile.
const PROFILE_CATALOGUE: &str = "error_catalogue of the profile";
/// What a payload says about itself.
const JOB_REPORT: &str = "jobReport.json";
const ERROR_REPORT: &str = "payload_error_report.json";

/// What payloads are started with.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    guard: Guard,
    /// The CPUs that the pilot may use, in the order in which they are handed out.
    cpus: Arc<[u32]>,
}

impl Starter {
    pub(crate) fn new() -> Result<Self, StartError> {
        let usable = usable_cpus().into_iter().map(|place| Cpu {
            number: place.number,
            core: place.core,
            package: place.package,
            numa_node: place.numa_node,
        });
        Ok(Self {
            guard: Guard::start()?,
            cpus: in_order(&usable.collect::<Vec<_>>()).into(),
        })
    }

    fn confinement(&self, allotment: &Allotment) -> Confinement {
        let limits = &allotment.hard_limits;
        Confinement {
            memory_max_bytes: limits.memory.map(ByteCount::as_bytes),
            tasks_max: limits.tasks,
            cpu_millicores_max: None,
            cpus: at_positions(&self.cpus, &allotment.cores),
            file_max_bytes: limits.file.map(ByteCount::as_bytes),
        }
    }
}

/// Starts the payload in a job's directory.
pub(crate) fn start_payload(
    starter: &Starter,
    plan: &PayloadPlan,
    dir: &Path,
    allotment: &Allotment,
) -> Result<RunningPayload, Problem> {
    let failed = |text: String| Problem::new(ErrorCode::PayloadExecutionFailure, text);
    let create = |name: &str| {
        let path = dir.join(name);
        open_output(&path).map_err(|error| failed(format!("`{}`: {error}", path.display())))
    };
    let argv = container::command_line(plan, dir)?;
    // A step before may have left one.
    let _ = std::fs::remove_file(dir.join(SETUP_FAILED_FILE));
    let inherited = std::env::vars_os().filter(|(name, _)| plan.inherits(&name.to_string_lossy()));
    let own = plan.environment.iter();
    let own = own.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let env: BTreeMap<OsString, OsString> = inherited.chain(own).collect();
    tracing::info!("{}: {argv:?}", plan.step);
    let core_dumps = match (plan.core_dumps, allotment.hard_limits.core_file) {
        (CoreDumpPolicy::Allowed, _) => CoreDumps::Allowed,
        (CoreDumpPolicy::Limited, ByteCount::ZERO) => CoreDumps::Forbidden,
        (CoreDumpPolicy::Limited, limit) => CoreDumps::UpTo(limit.as_bytes()),
    };
    let command = PayloadCommand {
        argv: argv.into_iter().map(OsString::from).collect(),
        env,
        cwd: dir.to_owned(),
        stdout: create(&plan.stdout)?,
        stderr: create(&plan.stderr)?,
        core_dumps,
        confinement: starter.confinement(allotment),
    };
    let payload = starter.guard.start_payload(command);
    let payload = payload.map_err(|error| failed(log::chain(&error)))?;
    tracing::debug!(
        "payload runs as process {}: {:?}",
        payload.pid(),
        payload.confined()
    );
    Ok(payload)
}

/// Starts what lives beside a payload, if its plan has such a thing. One that cannot be started is
/// missed, as in Pilot 3, but fails nothing by itself.
pub(crate) fn start_beside(
    starter: &Starter,
    plan: &PayloadPlan,
    dir: &Path,
    allotment: &Allotment,
) -> Option<RunningPayload> {
    let beside = plan.beside.as_deref()?;
    match start_payload(starter, beside, dir, allotment) {
        Ok(running) => Some(running),
        Err(problem) => {
            tracing::warn!("the {} cannot be started: {problem}", beside.step);
            None
        }
    }
}

/// Ends what lives beside a payload, once that is over.
pub(crate) fn end_beside(beside: RunningPayload) {
    if let Err(error) = beside.control().kill() {
        tracing::debug!("the co-process has ended by itself: {error}");
    }
    let ended = beside.wait();
    tracing::info!("the co-process is over: {:?}", ended.end);
}

/// Opens a file for a payload's output. Parts of a job that run again go on where they stopped;
/// a link that one of them left is not followed.
fn open_output(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

/// Waits for the payload's end, and gathers what tells how it went. `known_errors` are those of
/// the profile.
pub(crate) fn wait_for(
    payload: RunningPayload,
    (plan, dir): (&PayloadPlan, &Path),
    known_errors: &str,
) -> PayloadEnd {
    let shortage = match payload.confined().memory {
        Enforcement::Cgroup1 | Enforcement::Cgroup2 => MemoryShortage::OfPayload,
        Enforcement::NotAsked | Enforcement::Process | Enforcement::Nothing => {
            MemoryShortage::OfSlot
        }
    };
    let ended = payload.wait();
    if ended.n_leftovers > 0 {
        tracing::warn!(
            "{} processes of the payload were left and killed",
            ended.n_leftovers
        );
    }
    let exit = match ended.end {
        // What lost a process and went on has its own opinion of its work.
        ailurus_process::PayloadEnd::Exited(1..) | ailurus_process::PayloadEnd::Signalled(_)
            if ended.n_memory_kills > 0 =>
        {
            PayloadExit::OutOfMemory(shortage)
        }
        ailurus_process::PayloadEnd::Exited(code) => PayloadExit::Code(code),
        ailurus_process::PayloadEnd::Signalled(signal) => PayloadExit::Signal(signal),
        ailurus_process::PayloadEnd::GuardLost => PayloadExit::Unknown,
    };
    let (symptoms, last_words) = if exit == PayloadExit::Code(0) {
        (Vec::new(), String::new())
    } else {
        let output = [&plan.stderr, &plan.stdout].map(|name| dir.join(name));
        diagnose(exit, &output, &catalogue_with(known_errors))
    };
    let is_main = plan.step == StepKind::Main;
    let report = |name: &str| is_main.then(|| read_report(&dir.join(name))).flatten();
    let cpu = ended.cpu_user.saturating_add(ended.cpu_system);
    PayloadEnd {
        exit,
        cpu: (!cpu.is_zero()).then_some(cpu),
        symptoms,
        free_space: free_space(dir).ok().map(|space| space.available),
        job_report: report(JOB_REPORT),
        error_report: report(ERROR_REPORT),
        problem: setup_problem(dir, &last_words),
        last_words,
        n_events: None,
        files: Vec::new(),
    }
}

/// Returns what is wrong if a line of the set-up has failed.
fn setup_problem(dir: &Path, last_words: &str) -> Option<Problem> {
    let text = read_tail(&dir.join(SETUP_FAILED_FILE), SETUP_FAILED_MAX).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (line, code) = text.trim().split_once(' ')?;
    let (line, code): (u32, i32) = (line.parse().ok()?, code.parse().ok()?);
    let detail = format!("line {line} of the set-up gave exit code {code}: {last_words}");
    Some(Problem::new(ErrorCode::SetupFailure, detail))
}

/// Returns the names of the files in a job's directory, at most [`FILES_MAX`].
pub(crate) fn file_names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    names.take(FILES_MAX).collect()
}

/// Returns the built-in catalogue with a profile's own known errors before it.
fn catalogue_with(known_errors: &str) -> Catalogue {
    if known_errors.is_empty() {
        return Catalogue::built_in();
    }
    Catalogue::built_in_with(&[(PROFILE_CATALOGUE, known_errors)]).unwrap_or_else(|error| {
        tracing::warn!(
            "the profile's known errors are left out: {}",
            log::chain(&error)
        );
        Catalogue::built_in()
    })
}

/// Searches a failed payload's output for what is known, and for its last words.
fn diagnose(
    exit: PayloadExit,
    [stderr, stdout]: &[PathBuf; 2],
    catalogue: &Catalogue,
) -> (Vec<Symptom>, String) {
    let tail = |path: &Path| read_tail(path, OUTPUT_TAIL_MAX).unwrap_or_default();
    let stderr = tail(stderr);
    let words = last_words(&stderr);
    // Standard error goes first: what is found in both is quoted from there.
    let output = [stderr, tail(stdout)].join(&b'\n');
    let found = catalogue.scan(&output, SYMPTOMS_MAX);
    let mut symptoms: Vec<Symptom> = found
        .into_iter()
        .map(|finding| symptom(finding.entry, finding.line))
        .collect();
    // An end that nobody saw has no exit code that could be explained.
    if symptoms.is_empty()
        && exit != PayloadExit::Unknown
        && let Some(entry) = catalogue.explain_exit(exit.shell_code())
    {
        symptoms.push(symptom(entry, String::new()));
    }
    for symptom in &symptoms {
        tracing::warn!(
            "known error `{}` ({}): {}",
            symptom.id,
            symptom.blame,
            symptom.line
        );
    }
    (symptoms, words)
}

fn symptom(entry: &Entry, line: String) -> Symptom {
    Symptom {
        id: entry.id.clone(),
        code: entry.code,
        blame: entry.blame,
        cause: entry.cause.clone(),
        remedy: entry.remedy.clone(),
        line,
    }
}

/// Returns the last line that is not blank. Control characters are left out: they would act on the
/// terminals of those who read the log.
fn last_words(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines = text
        .lines()
        .rev()
        .map(|line| line.replace(char::is_control, ""));
    let line = lines.find(|line| !line.trim().is_empty());
    let line = line.unwrap_or_default();
    let line = line.trim();
    line[..line.floor_char_boundary(LAST_WORDS_MAX)].to_owned()
}

/// Opens a file that a payload left in the job's directory.
///
/// Neither a link, which could lead to the pilot's own credentials, nor a pipe, whose other end
/// would never come, nor anything else that is no regular file.
pub(crate) fn open_left_file(path: &Path) -> io::Result<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok((file, meta.len()))
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

pub(crate) fn read_tail(path: &Path, length_max: u64) -> io::Result<Vec<u8>> {
    let (mut file, length) = open_left_file(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(length_max)))?;
    let mut bytes = Vec::new();
    file.take(length_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a report of the payload, unless it is absent, too large, or no regular file.
fn read_report(path: &Path) -> Option<String> {
    let (file, length) = open_left_file(path).ok()?;
    let length = usize::try_from(length).ok()?;
    if length > REPORT_LENGTH_MAX {
        return None;
    }
    let mut bytes = Vec::with_capacity(length);
    file.take(length as u64).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use ailurus_experiment::plan::{STDERR_FILE, STDOUT_FILE};

    use super::*;

    fn streams(place: &Path) -> [PathBuf; 2] {
        [STDERR_FILE, STDOUT_FILE].map(|name| place.join(name))
    }

    #[test]
    fn last_words_are_the_last_line_that_says_something() {
        assert_eq!(last_words(b"first\n  the end  \n\n \n"), "the end");
        assert_eq!(last_words(b""), "");
        assert_eq!(last_words(b"\x1b[31mred\x07\n\x00\n"), "[31mred");
    }

    #[test]
    fn pipes_and_links_that_a_payload_left_are_not_read() {
        let place = tempfile::tempdir().expect("space");
        let secret = place.path().join("token");
        std::fs::write(&secret, "secret").expect("space");
        std::os::unix::fs::symlink(&secret, place.path().join(JOB_REPORT)).expect("space");
        let pipe = place.path().join(STDERR_FILE);
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("pipes can be made");
        assert_eq!(read_report(&place.path().join(JOB_REPORT)), None);
        assert!(read_tail(&pipe, 10).is_err());
    }

    #[test]
    fn a_report_that_is_no_file_or_too_large_is_left_alone() {
        let place = tempfile::tempdir().expect("space");
        let path = place.path().join(JOB_REPORT);
        assert_eq!(read_report(&path), None);
        std::fs::create_dir(&path).expect("space");
        assert_eq!(read_report(&path), None);
        std::fs::remove_dir(&path).expect("empty");
        std::fs::write(&path, vec![b' '; REPORT_LENGTH_MAX + 1]).expect("space");
        assert_eq!(read_report(&path), None);
        std::fs::write(&path, "{}").expect("space");
        assert_eq!(read_report(&path).as_deref(), Some("{}"));
    }

    #[test]
    fn a_profiles_known_errors_are_found_before_the_common_ones() {
        let known_errors = r#"
            scope = "payload"
            [[entry]]
            id = "spd-no-field-map"
            category = "software"
            blame = "site"
            action = "retry-elsewhere"
            cause = "The field map is missing."
            remedy = "Install it."
            patterns = [{ literal = "SpdField: no map" }]
            examples = ["SpdField: no map at all"]
        "#;
        let place = tempfile::tempdir().expect("space");
        let output = "SpdField: no map\nterminate: std::bad_alloc\n";
        std::fs::write(place.path().join(STDERR_FILE), output).expect("space");
        let catalogue = catalogue_with(known_errors);
        let (symptoms, words) = diagnose(PayloadExit::Code(1), &streams(place.path()), &catalogue);
        assert_eq!(symptoms[0].id, "spd-no-field-map");
        assert_eq!(symptoms.len(), 2);
        assert_eq!(words, "terminate: std::bad_alloc");
    }

    #[test]
    fn an_end_that_nobody_saw_is_not_explained_by_an_exit_code() {
        let place = tempfile::tempdir().expect("space");
        let catalogue = catalogue_with("");
        let (symptoms, _) = diagnose(PayloadExit::Unknown, &streams(place.path()), &catalogue);
        assert_eq!(symptoms, []);
    }

    #[test]
    fn known_errors_that_cannot_be_read_leave_the_common_ones() {
        assert!(!catalogue_with("[[entry]]\nid = 1").entries().is_empty());
    }

    #[test]
    fn a_failed_line_of_the_set_up_is_told_from_a_failed_payload() {
        let place = tempfile::tempdir().expect("space");
        assert_eq!(setup_problem(place.path(), ""), None);
        let file = place.path().join(SETUP_FAILED_FILE);
        std::fs::write(&file, "2 1\n").expect("space");
        let problem = setup_problem(place.path(), "no such release").expect("failed");
        assert_eq!(problem.code, ErrorCode::SetupFailure);
        assert_eq!(
            problem.detail,
            "line 2 of the set-up gave exit code 1: no such release"
        );
        std::fs::write(&file, "rubbish").expect("space");
        assert_eq!(setup_problem(place.path(), ""), None);
    }

    #[test]
    fn output_goes_on_where_it_stopped_and_follows_no_link() {
        use std::io::Write;
        let place = tempfile::tempdir().expect("space");
        let path = place.path().join(STDOUT_FILE);
        for text in ["one ", "two"] {
            let mut file = open_output(&path).expect("made");
            file.write_all(text.as_bytes()).expect("space");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "one two");
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("space");
        assert!(open_output(&link).is_err());
    }

    #[test]
    fn a_tail_is_at_most_as_long_as_asked() {
        let place = tempfile::tempdir().expect("space");
        let path = place.path().join("x");
        std::fs::write(&path, "0123456789").expect("space");
        assert_eq!(read_tail(&path, 3).expect("readable"), b"789");
        assert_eq!(read_tail(&path, 99).expect("readable"), b"0123456789");
    }
}

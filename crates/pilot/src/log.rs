//! The pilot's log: Pilot 3's line format, in `pilotlog.txt` and on standard output.
//!
//! Wrappers watch the file's modification time, and people grep its lines.

use std::{
    error::Error,
    fmt::{self, Write as _},
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
};

use ailurus_http::Response;
use tracing::{Event, Level, Subscriber, field};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format},
    registry::LookupSpan,
};

use crate::{
    journal,
    settings::{Detail, LogOut, LogSettings, wall_now},
};

/// The log's name in the pilot's directory.
pub(crate) const LOG_FILE: &str = "pilotlog.txt";
/// Most of the log that one of many jobs gets into its archive, in bytes.
const CUT_MAX: u64 = 16 << 20;
/// Most of the log's end that goes into a failed job's report, in bytes.
const EXTRACT_MAX: u64 = 900;
/// Longest part of an error page that is repeated, in bytes.
const PAGE_SHOWN_MAX: usize = 200;

/// Starts the log.
///
/// # Errors
///
/// The operating system's, if a file cannot be made.
pub(crate) fn start(settings: &LogSettings, home: &Path) -> io::Result<()> {
    let file = settings.has_file.then(|| open_log(home)).transpose()?;
    let out = match &settings.out {
        LogOut::Stdout => Out::Stdout,
        LogOut::Stderr => Out::Stderr,
        LogOut::File(path) => Out::File(Arc::new(File::create(path)?)),
    };
    let sinks = Sinks {
        file: file.map(Arc::new),
        out,
    };
    let level = match settings.detail {
        Detail::Info => Level::INFO,
        Detail::Debug => Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(sinks)
        .event_format(PilotLines(settings.detail))
        .init();
    Ok(())
}

/// Opens the log: a new one, but the old one where a pilot that died still needs it.
fn open_log(home: &Path) -> io::Result<File> {
    let path = home.join(LOG_FILE);
    if journal::is_any_in(home) {
        return OpenOptions::new().create(true).append(true).open(path);
    }
    File::create(path)
}

/// Returns how long the log is, in bytes.
pub(crate) fn position(home: &Path) -> u64 {
    fs::metadata(home.join(LOG_FILE)).map_or(0, |meta| meta.len())
}

/// Writes what a log holds from a position on, but no more than its last [`CUT_MAX`] bytes, to a new
/// file in place of the old one.
pub(crate) fn cut(log: &Path, from: u64, target: &Path) -> io::Result<()> {
    let mut log = File::open(log)?;
    let end = log.metadata()?.len();
    log.seek(SeekFrom::Start(from.max(end.saturating_sub(CUT_MAX))))?;
    fs::remove_file(target)?;
    let mut target = File::create_new(target)?;
    io::copy(&mut log.take(CUT_MAX), &mut target)?;
    Ok(())
}

/// Returns the end of the log for a failed job's report, empty if it cannot be read.
pub(crate) fn extract(home: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(home.join(LOG_FILE))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(EXTRACT_MAX)))?;
        let mut bytes = Vec::new();
        file.take(EXTRACT_MAX).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole_lines = text
            .split_once('\n')
            .map_or(text.as_str(), |(_, rest)| rest);
        Ok(format!("- Log from {LOG_FILE} -\n{whole_lines}"))
    };
    read().unwrap_or_default()
}

/// Joins an error and all of its causes by colons.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Tells of an answer that is of no use: its status, and how its page begins.
pub(crate) fn answer_in_words(answer: &Response) -> String {
    let page = answer.text();
    let shown = &page[..page.floor_char_boundary(PAGE_SHOWN_MAX)];
    format!("HTTP status {}: {}", answer.status, shown.trim())
}

/// Pilot 3's line format.
struct PilotLines(Detail);

impl<S, N> FormatEvent<S, N> for PilotLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: format::Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        let level = level_name(*meta.level());
        write!(writer, "{} | {level:<8} | ", wall_now().to_log_text())?;
        if self.0 == Detail::Debug {
            let place = format!("line {}", meta.line().unwrap_or_default());
            write!(writer, "{:<32} | {place:<25} | ", meta.target())?;
        }
        let mut text = EventText::default();
        event.record(&mut text);
        writeln!(writer, "{}{}", text.message, text.fields)
    }
}

/// Python's names of the levels.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// An event's message, and its fields as ` key=value`.
#[derive(Default)]
struct EventText {
    message: String,
    fields: String,
}

impl field::Visit for EventText {
    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        // Writing to a text cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

/// Where lines go. A sink that fails is left out: a full disk must not end the pilot.
#[derive(Clone)]
struct Sinks {
    file: Option<Arc<File>>,
    out: Out,
}

/// Where lines go besides the file.
#[derive(Clone)]
enum Out {
    Stdout,
    Stderr,
    File(Arc<File>),
}

impl Write for Sinks {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = &self.file {
            let _ = file.as_ref().write_all(line);
        }
        let _ = match &self.out {
            Out::File(file) => file.as_ref().write_all(line),
            Out::Stdout => io::stdout().write_all(line),
            Out::Stderr => io::stderr().write_all(line),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sinks {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_from_a_position_on() {
        let place = tempfile::tempdir().expect("space");
        let (log, target) = (place.path().join("log"), place.path().join("cut"));
        fs::write(&log, "job 1\njob 2\n").expect("space");
        fs::write(&target, "old").expect("space");
        cut(&log, 6, &target).expect("cut");
        assert_eq!(fs::read_to_string(&target).expect("there"), "job 2\n");
        assert!(cut(&place.path().join("absent"), 0, &target).is_err());
    }
}

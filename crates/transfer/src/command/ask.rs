//! Short calls of a copy program: asking about a file, removing, renaming, making a directory.

use std::time::{Duration, Instant};

use ailurus_model::ByteCount;
use ailurus_process::{DataStream, Happened, StreamEnd};

use crate::{
    Cause, Direction, Impatience, RemoteFile, TransferError, Watch, checksum::ChecksumKind,
};

use super::{
    CommandTool, Failure, TICK,
    description::Question,
    place::{RemotePlace, read_checksum},
    words::{Values, Word},
};

/// Longest time that a storage may take for a short answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Longest time that it may take for a checksum, for which it may have to read the file.
const CHECKSUM_LIMIT: Duration = Duration::from_secs(1800);

/// Longest time for cleaning up after a failure.
const CLEAN_LIMIT: Duration = Duration::from_secs(20);

/// Longest time for cleaning up after the pilot was told to stop.
const CLEAN_LIMIT_STOPPED: Duration = Duration::from_secs(5);

/// Makes short calls about one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Helper<'a> {
    tool: &'a CommandTool,
    direction: Direction,
    place: &'a RemotePlace,
    watch: &'a Watch,
}

/// How long a call may take, and whether it heeds the switch.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// Until the transfer is given up.
    Heeding(Duration),
    /// Also after that.
    Cleaning(Duration),
}

impl<'a> Helper<'a> {
    pub(super) const fn new(
        tool: &'a CommandTool,
        direction: Direction,
        place: &'a RemotePlace,
        watch: &'a Watch,
    ) -> Self {
        Self {
            tool,
            direction,
            place,
            watch,
        }
    }

    /// Asks for size and checksum, as far as the tool can. `kind` is what the checksum should be,
    /// for storages that have several.
    pub(super) fn look(&self, kind: Option<ChecksumKind>) -> Result<RemoteFile, TransferError> {
        let description = &self.tool.description;
        let mut found = RemoteFile::default();
        if let Some(question) = &description.size {
            let answer = self.answer(question, kind, ANSWER_LIMIT)?;
            let size = answer.and_then(|(_, value)| value.parse().ok());
            found.size = size.map(ByteCount::from_bytes);
        }
        if let Some(question) = &description.checksum
            && let Some((said_kind, value)) = self.answer(question, kind, CHECKSUM_LIMIT)?
        {
            let asked = name_of(kind.unwrap_or_default());
            found.checksum = read_checksum(said_kind.as_deref().unwrap_or(asked), &value);
        }
        Ok(found)
    }

    /// Removes the file; one that is not there is no error.
    pub(super) fn remove(&self) -> Result<(), TransferError> {
        self.call_remove(Limit::Heeding(ANSWER_LIMIT))
    }

    /// Removes what a failed transfer left, if the storage lets it.
    pub(super) fn clean_up(&self) {
        let limit = if self.watch.is_stopped() {
            CLEAN_LIMIT_STOPPED
        } else {
            CLEAN_LIMIT
        };
        if let Err(error) = self.call_remove(Limit::Cleaning(limit)) {
            let place = self.place.shown();
            tracing::warn!(
                "a file in the making may be left at `{place}`: {}",
                error.cause
            );
        }
    }

    /// Gives the file another name, in place of a file that may have it.
    pub(super) fn rename_to(&self, target: &'a RemotePlace) -> Result<(), TransferError> {
        let mut values = self.values(None);
        target.put_into_as_new(&mut values);
        let rename = &self.tool.description.rename;
        let limit = Limit::Heeding(ANSWER_LIMIT);
        let Err(first) = self.call(rename, &values, limit) else {
            return Ok(());
        };
        // Some storages do not replace a file. What is there is older than what is verified.
        let at_target = Self {
            place: target,
            ..*self
        };
        if self.watch.is_stopped() || at_target.look(None).is_err() {
            return Err(first);
        }
        at_target.remove()?;
        self.call(rename, &values, limit).map(drop)
    }

    /// Makes the directory of the file, if the tool can.
    pub(super) fn make_directory(&self) -> Result<(), TransferError> {
        let command = &self.tool.description.make_directory;
        let limit = Limit::Heeding(ANSWER_LIMIT);
        self.call(command, &self.values(None), limit).map(drop)
    }

    /// Says whether the program says a text, however it ends.
    pub(super) fn says(&self, command: &[Word], text: &str) -> bool {
        let limit = Limit::Heeding(ANSWER_LIMIT);
        let Ok((_, end)) = self.run(command, &Values::new(), limit) else {
            return false;
        };
        let has_it = |output: &[u8]| String::from_utf8_lossy(output).contains(text);
        has_it(&end.stdout) || has_it(&end.stderr)
    }

    fn call_remove(&self, limit: Limit) -> Result<(), TransferError> {
        let remove = &self.tool.description.remove;
        if remove.is_empty() {
            let why = format!("`{}` cannot remove files", self.tool.name);
            return Err(self.error(Cause::Refused { why }));
        }
        let (program, end) = self.run(remove, &self.values(None), limit)?;
        // Whether the file is missing does not depend on the direction.
        match self
            .tool
            .judge(&program, Direction::StageIn, self.place, &end)
        {
            Ok(()) | Err(Failure::Cause(Cause::Missing)) => Ok(()),
            Err(failure) => Err(self
                .tool
                .failed(failure, &program, self.direction, self.place)),
        }
    }

    /// Asks a question; no answer if the storage has none of that kind.
    fn answer(
        &self,
        question: &Question,
        kind: Option<ChecksumKind>,
        limit: Duration,
    ) -> Result<Option<(Option<String>, String)>, TransferError> {
        let values = self.values(kind);
        let (program, end) = self.run(&question.command, &values, Limit::Heeding(limit))?;
        match self.tool.judge(&program, self.direction, self.place, &end) {
            Ok(()) => {}
            Err(Failure::NoChecksum) => return Ok(None),
            Err(failure) => {
                return Err(self
                    .tool
                    .failed(failure, &program, self.direction, self.place));
            }
        }
        let text = String::from_utf8_lossy(&end.stdout);
        let Some(found) = question.pattern.captures_iter(&text).last() else {
            let why = format!("`{program}` answers what cannot be read");
            return Err(self.error(Cause::NotTheFile { why }));
        };
        let group = |name| found.name(name).map(|it| it.as_str().to_owned());
        Ok(group("value").map(|value| (group("kind"), value)))
    }

    fn call(
        &self,
        command: &[Word],
        values: &Values,
        limit: Limit,
    ) -> Result<StreamEnd, TransferError> {
        let (program, end) = self.run(command, values, limit)?;
        match self.tool.judge(&program, self.direction, self.place, &end) {
            Ok(()) => Ok(end),
            Err(failure) => Err(self
                .tool
                .failed(failure, &program, self.direction, self.place)),
        }
    }

    fn run(
        &self,
        command: &[Word],
        values: &Values,
        limit: Limit,
    ) -> Result<(String, StreamEnd), TransferError> {
        let (tool, direction, place) = (self.tool, self.direction, self.place);
        let argv = tool.argv(command, values, direction, place, self.watch)?;
        let begin = Instant::now();
        let (mut running, program) = tool.start(argv, DataStream::None, direction, place)?;
        loop {
            let happened = running.wait(TICK).map_err(|error| self.io(error))?;
            if happened == Happened::Ended {
                break;
            }
            let longest = match limit {
                Limit::Heeding(longest) => {
                    if self.watch.is_stopped() {
                        self.watch.check(direction, &place.shown())?;
                    }
                    longest
                }
                Limit::Cleaning(longest) => longest,
            };
            if begin.elapsed() > longest {
                let limit = longest;
                return Err(self.error(Cause::TooSlow(Impatience::NotEnded { limit })));
            }
        }
        let end = running.finish().map_err(|error| self.io(error))?;
        Ok((program, end))
    }

    fn values(&self, kind: Option<ChecksumKind>) -> Values {
        let mut values = Values::new();
        self.place.put_into(&mut values);
        values.insert("checksum_kind", name_of(kind.unwrap_or_default()).into());
        values
    }

    fn io(&self, source: std::io::Error) -> TransferError {
        let action = "watch a program for";
        self.error(Cause::Io { action, source })
    }

    fn error(&self, cause: Cause) -> TransferError {
        TransferError::new(self.direction, self.place.shown(), cause)
    }
}

const fn name_of(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::Adler32 => "adler32",
        ChecksumKind::Md5 => "md5",
        ChecksumKind::Sha256 => "sha256",
    }
}

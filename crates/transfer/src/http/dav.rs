//! What changes a storage besides the bytes: directories, names, removal.

use super::{
    answer::Action,
    macaroon::Activity,
    place::Place,
    session::{Ask, Session},
};
use crate::{Cause, TransferError};

/// Most directories that are made above one file.
const DEPTH_MAX: usize = 64;

impl Session<'_> {
    /// Says whether a storage can rename files: it says so itself, once.
    pub(crate) fn can_rename(&self, place: &Place) -> Result<bool, TransferError> {
        if let Some(known) = self.tool.hosts.get(place.origin()).renames {
            return Ok(known);
        }
        let answer = self.ask(place, Ask::plain("OPTIONS", Activity::Upload))?;
        // Class 1 includes MOVE, also where `Allow` is shorter, as XRootD's.
        let is_class_1 = answer
            .headers("DAV")
            .flat_map(|it| it.split(','))
            .any(|it| it.trim() == "1");
        let has = |method: &str| {
            answer
                .headers("Allow")
                .flat_map(|it| it.split(','))
                .any(|it| it.trim().eq_ignore_ascii_case(method))
        };
        let can_rename = is_class_1 || has("MOVE");
        let status = answer.status;
        answer.drain();
        // A refusal or an overload says nothing about what the storage can.
        if matches!(status, 200..=299 | 404 | 405 | 501) {
            let origin = place.origin();
            self.tool
                .hosts
                .learn(origin, |it| it.renames = Some(can_rename));
        }
        Ok(can_rename)
    }

    /// Renames a file; one that has the new name is replaced. Returns whether the storage can.
    pub(crate) fn rename(&self, from: &Place, to: &Place) -> Result<bool, TransferError> {
        let destination = to.url();
        let headers = [("Destination", destination.as_str()), ("Overwrite", "T")];
        let ask = Ask {
            headers: &headers,
            ..Ask::plain("MOVE", Activity::Upload)
        };
        let answer = self.ask(from, ask)?;
        match answer.status {
            200..=299 => {
                answer.drain();
                Ok(true)
            }
            405 | 501 => {
                answer.drain();
                let origin = from.origin();
                self.tool.hosts.learn(origin, |it| it.renames = Some(false));
                Ok(false)
            }
            _ => Err(self.refused(to, answer, Action::Write)),
        }
    }

    /// Removes a file; one that is not there is no error.
    pub(crate) fn delete(&self, place: &Place) -> Result<(), TransferError> {
        let answer = self.ask(place, Ask::plain("DELETE", Activity::Upload))?;
        match answer.status {
            200..=299 | 404 | 410 => {
                answer.drain();
                Ok(())
            }
            _ => Err(self.refused(place, answer, Action::Write)),
        }
    }

    /// Makes the directories above a file as far as they are missing. Others may make them at the
    /// same time.
    pub(crate) fn make_parents(&self, file: &Place) -> Result<(), TransferError> {
        let mut missing = Vec::new();
        let mut next = file.parent();
        while let Some(directory) = next {
            if self.tool.hosts.has_directory(&directory.url()) {
                break;
            }
            let made = self.make_directory(&directory)?;
            next = directory.parent();
            if made {
                break;
            }
            if missing.len() >= DEPTH_MAX || next.is_none() {
                let why = "its directory cannot be made".to_owned();
                return Err(self.error(&directory, Cause::Refused { why }));
            }
            missing.push(directory);
        }
        while let Some(directory) = missing.pop() {
            if !self.make_directory(&directory)? {
                let why = "its directory cannot be made, although the one above is there";
                let why = why.to_owned();
                return Err(self.error(&directory, Cause::Refused { why }));
            }
        }
        Ok(())
    }

    /// Makes one directory; false if the one above is missing.
    fn make_directory(&self, directory: &Place) -> Result<bool, TransferError> {
        let answer = self.ask(directory, Ask::plain("MKCOL", Activity::Upload))?;
        let is_there = match answer.status {
            // 405: it is there already. A redirect is to the same name with a slash.
            200..=299 | 405 | 301 | 308 => true,
            404 | 409 => false,
            // Storages that let nobody write above the own directory.
            403 if self.is_directory(directory).unwrap_or(false) => true,
            _ => return Err(self.refused(directory, answer, Action::Write)),
        };
        answer.drain();
        if is_there {
            self.tool.hosts.add_directory(directory.url());
        }
        Ok(is_there)
    }
}

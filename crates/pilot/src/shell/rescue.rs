//! The journals of this pilot's jobs, and the jobs of pilots that died.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use ailurus_pilot_core::{
    Input, JobTicket,
    config::{Cleanup, Purpose},
    input::{FoundJournals, JournalId},
    recovery::journal::JournalStep,
};

use super::{JobTools, Message, Shell};
use crate::{
    data::JobPlace,
    journal::{self, Found, FoundJournal, JournalFile, Whose},
    log,
    watch::JobFiles,
    work_dir,
    work_from::WorkFrom,
};

/// The journals that the pilot holds.
#[derive(Debug, Default)]
pub(super) struct Journals {
    /// Those of jobs that are not over, and where their pilots worked if these are dead.
    held: BTreeMap<JobTicket, (JournalFile, Option<PathBuf>)>,
    /// Those of dead pilots that no job has yet.
    found: BTreeMap<JournalId, FoundJournal>,
}

impl Shell {
    /// Looks where earlier pilots worked, and tells the core what they left. What is found is locked
    /// first.
    pub(super) fn find_journals(&self) {
        let settings = &self.settings;
        let (roots, whose) = match (&settings.recover, settings.core.purpose) {
            (Some(dir), Purpose::Recover) => (vec![dir.clone()], Whose::Anyones),
            // Who gives one job by hand takes reports of no other one.
            _ if matches!(settings.work_from, WorkFrom::Given(_)) => (Vec::new(), Whose::ThisHost),
            (_, Purpose::Serve | Purpose::Recover) => {
                let mut roots = vec![settings.launch_dir.clone()];
                roots.extend(settings.base_dir.clone().filter(|dir| *dir != roots[0]));
                (roots, Whose::ThisHost)
            }
        };
        let nothing = Input::JournalsFound(FoundJournals::default());
        self.activities
            .start("find-journals", nothing, move |sender| {
                let (mut locked, mut told) = (Vec::new(), FoundJournals::default());
                for root in roots {
                    let Found {
                        jobs,
                        updates,
                        left,
                    } = journal::find(&root, whose);
                    for reason in &left {
                        tracing::warn!("left as it is: {}", log::chain(reason));
                    }
                    told.n_left += u32::try_from(left.len()).unwrap_or(u32::MAX);
                    for (journal, found) in jobs {
                        let id = next_id(&locked);
                        told.jobs.push((id, journal));
                        locked.push((id, found));
                    }
                    for (update, found) in updates {
                        let id = next_id(&locked);
                        told.updates.push((id, Box::new(update)));
                        locked.push((id, found));
                    }
                }
                // The loop may have ended meanwhile; then the locks are given back.
                let _ = sender.send(Message::JournalsLocked(locked));
                Input::JournalsFound(told)
            });
    }

    /// Keeps what was found and locked, until the core takes it over.
    pub(super) fn keep_found(&mut self, locked: Vec<(JournalId, FoundJournal)>) {
        self.journals.found.extend(locked);
    }

    /// Makes the files of a dead pilot's job those of a job of this pilot.
    pub(super) fn take_over(&mut self, ticket: JobTicket, id: JournalId) {
        let Some(found) = self.journals.found.remove(&id) else {
            return;
        };
        tracing::info!("taking over `{}`", found.file.path().display());
        if let Some(dir) = found.directory {
            let place = JobPlace::new(dir, self.mover.clone(), 0);
            let tools = JobTools {
                hooks: None,
                stream: None,
                panda_id: found.panda_id,
                place: Arc::new(place),
                payload: None,
                files: JobFiles::default(),
                recorder: None,
            };
            self.jobs.insert(ticket, tools);
        }
        let held = (found.file, Some(found.home));
        self.journals.held.insert(ticket, held);
    }

    /// Writes a job's journal, before anything that follows is done. A journal that cannot be written
    /// costs the job only its rescue.
    pub(super) fn write_journal(&mut self, ticket: JobTicket, step: JournalStep) {
        let held = &mut self.journals.held;
        let written = match step {
            JournalStep::Open(opening) => {
                let file = JournalFile::create(&self.home, &ticket.to_string(), opening);
                file.map(|file| {
                    held.insert(ticket, (file, None));
                })
            }
            JournalStep::Append(snapshot) => match held.get_mut(&ticket) {
                Some((file, _)) => file.append(snapshot),
                None => Ok(()),
            },
            JournalStep::Remove => {
                if let Some((file, home)) = held.remove(&ticket) {
                    file.remove();
                    self.remove_dead_home(home.as_deref());
                }
                Ok(())
            }
            JournalStep::Leave => {
                held.remove(&ticket);
                Ok(())
            }
        };
        tell_failure(written);
    }

    /// Notes in the journal where the job works.
    pub(super) fn note_directory(&mut self, ticket: JobTicket, directory: &Path) {
        if let Some((file, _)) = self.journals.held.get_mut(&ticket) {
            tell_failure(file.note_directory(directory));
        }
    }

    /// Removes the directory of a dead pilot once no journal is left in it, if that is wanted.
    fn remove_dead_home(&self, home: Option<&Path>) {
        let Some(home) = home else {
            return;
        };
        let is_kept = self.settings.core.cleanup == Cleanup::Keep;
        if !is_kept && work_dir::is_pilots_own(home) && !journal::is_any_in(home) {
            tracing::info!(
                "removing the directory of a pilot that died: `{}`",
                home.display()
            );
            work_dir::remove(home);
        }
    }
}

fn next_id(locked: &[(JournalId, FoundJournal)]) -> JournalId {
    JournalId::try_from(locked.len()).unwrap_or(JournalId::MAX)
}

fn tell_failure(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::warn!(
            "a job's journal cannot be written, so no other pilot could continue it: {error}"
        );
    }
}

//! Updates of several jobs in one message, where the server takes that.

use std::sync::atomic::Ordering;

use ailurus_model::{JobUpdate, UpdateAnswer};
use ailurus_pilot_core::input::UpdateFailure;
use ailurus_wire::update_bulk;

use super::{ServerLink, call::CallError, failure_of};
use crate::{log, settings::ServerUse};

type Answers = Vec<Result<UpdateAnswer, UpdateFailure>>;

impl ServerLink {
    /// Sends several updates, and returns an answer for each in order.
    pub(crate) fn update_all(&self, updates: &[&JobUpdate]) -> Answers {
        let one_by_one = || updates.iter().map(|update| self.update(update)).collect();
        let takes_bulk = self.calls.is_known_v1()
            && self.config.server_use == ServerUse::Updates
            && !self.refuses_bulk.load(Ordering::Relaxed);
        if updates.len() < 2 || !takes_bulk {
            return one_by_one();
        }
        match self.send_bulk(updates) {
            Ok(answers) => answers,
            Err(why) => {
                tracing::info!("updates go one by one from now on: {why}");
                self.refuses_bulk.store(true, Ordering::Relaxed);
                one_by_one()
            }
        }
    }

    /// # Errors
    ///
    /// The server does not understand such messages.
    fn send_bulk(&self, updates: &[&JobUpdate]) -> Result<Answers, String> {
        let harvester_id = updates
            .iter()
            .find_map(|update| update.harvester_id.clone());
        let full: Vec<JobUpdate> = updates.iter().map(|update| self.with_log(update)).collect();
        let fields = update_bulk::encode_request(&harvester_id.unwrap_or_default(), &full);
        let bytes = match self.calls.post_v1(update_bulk::PATH, &fields) {
            Ok(bytes) => bytes,
            Err(CallError::Refused(why) | CallError::Forbidden(why)) => return Err(why),
            Err(CallError::Unreachable(why)) => {
                let failure = UpdateFailure::Unreachable(why);
                return Ok(updates.iter().map(|_| Err(failure.clone())).collect());
            }
        };
        let answers = update_bulk::decode_answer(&bytes).map_err(|error| log::chain(&error))?;
        if answers.len() != updates.len() {
            let (given, wanted) = (answers.len(), updates.len());
            return Err(format!("{given} answers to {wanted} updates"));
        }
        let answers = answers.into_iter();
        Ok(answers
            .map(|it| it.map_err(|error| failure_of(&error)))
            .collect())
    }
}

//! A pilot's calls of the server, in its dialect, and what becomes of them.

use ailurus_pilot_core::{
    Input, JobInput,
    input::{AcquireFailure, Offer, UpdateFailure},
};
use ailurus_wire::{AnswerError, Dialect, Fields, body, get_job, update_job};

use super::{PilotNr, PilotPurpose, who};
use crate::{
    network::Request,
    violation::Invariant,
    world::{Reply, World},
};

/// The content type of legacy requests.
const FORM_TYPE: &str = "application/x-www-form-urlencoded";

impl World {
    pub(super) fn pilot_call(
        &mut self,
        nr: PilotNr,
        purpose: PilotPurpose,
        path: &'static str,
        fields: &Fields,
    ) -> Request {
        let (content_type, body) = match self.pilots[&nr].dialect {
            Dialect::Legacy => (FORM_TYPE, body::encode_form(fields).into_bytes()),
            Dialect::V1 => (body::JSON_TYPE, body::encode_json(fields)),
        };
        let request = Request {
            path,
            content_type,
            body,
        };
        self.call(who(nr), Reply::Pilot(nr, purpose), request.clone());
        request
    }

    /// An answer to a pilot, or why there is none.
    pub(crate) fn on_pilot_reply(
        &mut self,
        nr: PilotNr,
        purpose: PilotPurpose,
        outcome: Result<Vec<u8>, &'static str>,
    ) {
        let now = self.now;
        let Some(pilot) = self.pilots.get_mut(&nr) else {
            return;
        };
        if outcome.is_ok() {
            pilot.heard = now;
        }
        let dialect = pilot.dialect;
        let input = match purpose {
            PilotPurpose::Report => Input::WorkerReported,
            PilotPurpose::GetJob => match outcome {
                Ok(bytes) => self.offered(dialect, &bytes),
                Err(why) => Input::AcquireFailed(AcquireFailure::NoAnswer(why.to_owned())),
            },
            PilotPurpose::Update(ticket, update_nr) => {
                let result = match outcome {
                    Ok(bytes) => update_job::decode_answer(dialect, &bytes)
                        .map_err(|error| self.refused_answer(&error)),
                    Err(why) => Err(UpdateFailure::Unreachable(why.to_owned())),
                };
                let input = JobInput::UpdateAnswered {
                    nr: update_nr,
                    result,
                };
                Input::Job(ticket, input)
            }
        };
        self.give_pilot(nr, input);
        self.check_pilot(nr);
    }

    fn offered(&mut self, dialect: Dialect, bytes: &[u8]) -> Input {
        match get_job::decode_answer(dialect, bytes) {
            Ok(offered) => {
                if let Some(error) = offered.broken.first() {
                    self.violate(Invariant::W1, format_args!("{error}: {}", error.source));
                }
                Input::JobsOffered(Offer {
                    jobs: offered.jobs,
                    refused: Vec::new(),
                })
            }
            Err(error) => {
                self.violate(
                    Invariant::W1,
                    format_args!("answer to a job request: {error}"),
                );
                Input::JobsOffered(Offer::default())
            }
        }
    }

    fn refused_answer(&mut self, error: &AnswerError) -> UpdateFailure {
        self.violate(Invariant::W1, format_args!("answer to an update: {error}"));
        UpdateFailure::Refused(error.to_string())
    }
}

//! One command of one person, within whatever operation it belongs to.

use ailurus_jedi::command::{CallerRole, CommandRefusal, TaskCommand};
use ailurus_model::{Caller, TaskId};

use super::{CommandReply, CommandRequest, with_parameters};
use crate::{
    ActionError,
    kill::who,
    ledger::{Ledger, LedgerError},
    operation::Operation,
};

impl<L: Ledger> Operation<'_, L> {
    /// Follows a command of a person, and answers with PanDA's codes.
    pub(crate) fn command_task(
        &mut self,
        id: TaskId,
        request: CommandRequest,
        caller: &Caller,
    ) -> Result<CommandReply, LedgerError> {
        let Some(mut task) = self.load_task(id)? else {
            return Ok(CommandReply::refused(&CommandRefusal::NotFound(id)));
        };
        let group = self.working_group(id)?;
        if !caller.may_steer(&task.record.spec.user, &group) {
            return Ok(CommandReply::refused(&CommandRefusal::NotAllowed));
        }
        let role = if caller.rights.production {
            CallerRole::Production
        } else {
            CallerRole::Owner
        };
        let label = task.record.spec.source_label.as_str().to_owned();
        let retry = TaskCommand::Retry.check(task.status(), role, &label);
        let is_retry_under_way = matches!(request, CommandRequest::Retry(..))
            && matches!(retry, Err(CommandRefusal::IsActive(_)));
        if is_retry_under_way {
            let reply = self.retry_under_way(&mut task, request, &who(caller))?;
            self.save_task(&mut task)?;
            return Ok(reply);
        }
        // New parameters make a retry another command, with other statuses.
        let request = with_parameters(request);
        if let Some(word) = request.word()
            && let Err(refusal) = word.check(task.status(), role, &label)
        {
            return Ok(CommandReply::refused(&refusal));
        }
        let starts_anew = matches!(
            request,
            CommandRequest::Retry(..) | CommandRequest::Incexec(..) | CommandRequest::Reactivate(_)
        );
        if starts_anew && self.ledger.are_jobs_dropped(id)? {
            let message = ActionError::JobsDropped { id }.to_string();
            return Ok(CommandReply { code: 1, message });
        }
        let message = match request.word() {
            Some(word) => word.accepted(id),
            None => "succeeded".to_owned(),
        };
        let message = match self.follow(&mut task, request, &who(caller))? {
            Ok(None) => message,
            Ok(Some(but)) => but,
            Err(message) => return Ok(CommandReply { code: 1, message }),
        };
        self.save_task(&mut task)?;
        Ok(CommandReply::done(message))
    }
}

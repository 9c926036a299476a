//! Group commit: one thread owns the connection that writes, and commits many operations at once.
//!
//! An operation is a closure over the ledger. The thread takes all that wait, up to
//! [`OPERATIONS_PER_COMMIT`], runs each within a savepoint, commits, and only then gives the
//! answers: an answered change is on disk. An operation that errs or panics is taken back alone;
//! a commit that fails takes everything back and says so to all.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
};

use crate::{ledger::DatabaseLedger, sql::SqlError};

/// Operations that share one commit at most.
pub const OPERATIONS_PER_COMMIT: usize = 256;
/// Operations that may wait. When there are more, the next is refused, not kept.
pub const OPERATIONS_WAITING: usize = 4096;

/// Why an operation has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The operation itself said no.
    #[error(transparent)]
    Operation(E),
    /// The operation panicked: a defect of this program.
    #[error("the operation failed by a defect of the program: {message}")]
    Panicked {
        /// The text of the panic.
        message: String,
    },
    /// The database could not keep it: full disk, broken file and so on.
    #[error("the database cannot keep the change: {reason}")]
    NotSaved {
        /// What the database said.
        reason: String,
    },
    /// Too many operations wait already.
    #[error("{OPERATIONS_WAITING} operations wait for the database: try again later")]
    Overloaded,
    /// The writer has stopped.
    #[error("the database is closed")]
    Stopped,
}

/// The way to the thread that writes. Dropping it lets the thread finish what waits, then ends it.
#[derive(Debug)]
pub struct Writer {
    /// None only while the writer is being dropped.
    backlog: Option<SyncSender<Box<dyn Queued>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread `ledger-writer`, which owns the ledger from then on.
    ///
    /// # Errors
    ///
    /// Those of the system when it cannot start a thread.
    pub fn start(ledger: DatabaseLedger) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(OPERATIONS_WAITING);
        let thread = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || work(ledger, &receiver))?;
        Ok(Self {
            backlog: Some(sender),
            thread: Some(thread),
        })
    }

    /// Queues an operation and returns at once.
    ///
    /// `answer` is called once: on the writer's thread after the commit, or on this one if the
    /// operation is not taken. It must not block, and must not use the writer.
    pub fn submit<T, E>(
        &self,
        operation: impl FnOnce(&mut DatabaseLedger) -> Result<T, E> + Send + 'static,
        answer: impl FnOnce(Result<T, WriteError<E>>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: Send + 'static,
    {
        let queued = Box::new(Operation {
            operation: Some(operation),
            result: None,
            answer,
        });
        let Some(backlog) = &self.backlog else {
            return queued.settle(&Fate::Stopped);
        };
        match backlog.try_send(queued) {
            Ok(()) => {}
            Err(TrySendError::Full(refused)) => refused.settle(&Fate::Overloaded),
            Err(TrySendError::Disconnected(refused)) => refused.settle(&Fate::Stopped),
        }
    }

    /// Runs an operation and waits for its answer. Not for the threads of an async runtime.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the operation has changed nothing.
    pub fn run<T, E>(
        &self,
        operation: impl FnOnce(&mut DatabaseLedger) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (sender, receiver) = sync_channel(1);
        self.submit(operation, move |result| {
            sender
                .send(result)
                .expect("the receiver is kept until it has received");
        });
        receiver.recv().unwrap_or(Err(WriteError::Stopped))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.backlog.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's writer ended by a panic");
        }
    }
}

/// What became of an operation's transaction.
#[derive(Debug)]
enum Fate {
    Committed,
    Lost { reason: String },
    Overloaded,
    Stopped,
}

/// Whether an operation's changes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    TakeBack,
}

/// An operation on its way, whatever its types.
trait Queued: Send {
    /// Runs it and keeps its result.
    fn run(&mut self, ledger: &mut DatabaseLedger) -> Verdict;
    /// Gives the answer.
    fn settle(self: Box<Self>, fate: &Fate);
}

struct Operation<O, A, T, E> {
    /// None once it ran.
    operation: Option<O>,
    /// None until it ran.
    result: Option<Result<T, WriteError<E>>>,
    answer: A,
}

impl<O, A, T, E> Queued for Operation<O, A, T, E>
where
    T: Send,
    E: Send,
    O: FnOnce(&mut DatabaseLedger) -> Result<T, E> + Send,
    A: FnOnce(Result<T, WriteError<E>>) + Send,
{
    fn run(&mut self, ledger: &mut DatabaseLedger) -> Verdict {
        let operation = self.operation.take().expect("an operation runs once");
        let (verdict, result) = match catch_unwind(AssertUnwindSafe(|| operation(ledger))) {
            Ok(Ok(value)) => (Verdict::Keep, Ok(value)),
            Ok(Err(error)) => (Verdict::TakeBack, Err(WriteError::Operation(error))),
            Err(panic) => {
                let message = text_of_panic(&*panic);
                tracing::error!(message, "an operation on the ledger panicked");
                (Verdict::TakeBack, Err(WriteError::Panicked { message }))
            }
        };
        self.result = Some(result);
        verdict
    }

    fn settle(self: Box<Self>, fate: &Fate) {
        (self.answer)(match (fate, self.result) {
            // What has changed nothing by itself does not depend on the commit.
            (_, Some(Err(error))) => Err(error),
            (Fate::Committed, Some(Ok(value))) => Ok(value),
            (Fate::Committed | Fate::Stopped, _) => Err(WriteError::Stopped),
            (Fate::Lost { reason }, _) => Err(WriteError::NotSaved {
                reason: reason.clone(),
            }),
            (Fate::Overloaded, _) => Err(WriteError::Overloaded),
        });
    }
}

/// Works until the writer is dropped and nothing waits.
fn work(mut ledger: DatabaseLedger, backlog: &Receiver<Box<dyn Queued>>) {
    let mut group = Vec::with_capacity(OPERATIONS_PER_COMMIT);
    while let Ok(first) = backlog.recv() {
        group.push(first);
        group.extend(backlog.try_iter().take(OPERATIONS_PER_COMMIT - 1));
        let fate = match commit_group(&mut ledger, &mut group) {
            Ok(()) => Fate::Committed,
            Err(error) => {
                ledger.give_up();
                let reason = error.to_string();
                tracing::error!(operations = group.len(), reason, "a commit failed");
                Fate::Lost { reason }
            }
        };
        for operation in group.drain(..) {
            operation.settle(&fate);
        }
    }
}

/// Runs the operations of a group in one transaction and commits it.
fn commit_group(
    ledger: &mut DatabaseLedger,
    group: &mut [Box<dyn Queued>],
) -> Result<(), SqlError> {
    ledger.sql().begin()?;
    for operation in group {
        ledger.sql().execute("SAVEPOINT operation", &[])?;
        if operation.run(ledger) == Verdict::TakeBack {
            // Fails if the error was one by which the database gave the whole transaction up.
            ledger.sql().execute("ROLLBACK TO operation", &[])?;
            ledger.forget();
        }
        ledger.sql().execute("RELEASE operation", &[])?;
    }
    ledger.sql().commit()
}

fn text_of_panic(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use ailurus_model::{DatasetName, TaskId};
    use ailurus_server_core::ledger::{DatasetRecord, Ledger, LedgerError};

    use super::*;
    use crate::sql::{Columns, only};

    fn dataset(nr: usize) -> DatasetRecord {
        DatasetRecord {
            name: DatasetName::new(format!("spd.mc:set{nr}.{}", "x".repeat(500))),
            producer: Some(TaskId::new(1)),
            n_parts: 1,
        }
    }

    fn put(nr: usize) -> impl FnOnce(&mut DatabaseLedger) -> Result<(), LedgerError> + Send {
        move |ledger| ledger.put_dataset(&dataset(nr))
    }

    #[test]
    fn nothing_is_acknowledged_that_a_full_disk_does_not_take() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.db");
        let ledger = DatabaseLedger::open(&path).unwrap();
        let pages: i64 = ledger.sql().one("PRAGMA page_count", &[], only).unwrap();
        let limit = format!("PRAGMA max_page_count = {}", pages + 20);
        let set = |columns: &mut Columns<'_>| columns.take::<i64>();
        ledger.sql().one(&limit, &[], set).unwrap();
        let writer = Writer::start(ledger).unwrap();
        let mut kept = 0;
        while writer.run(put(kept)).is_ok() {
            kept += 1;
            assert!(kept < 10_000, "the disk is never full");
        }
        let raised = format!("PRAGMA max_page_count = {}", pages + 40);
        let raised = writer.run(move |ledger| ledger.sql().one(&raised, &[], set));
        raised.unwrap();
        // With room again, the same writer goes on.
        writer.run(put(kept + 1)).unwrap();
        drop(writer);
        let ledger = DatabaseLedger::open(&path).unwrap();
        let is_there = |nr| ledger.dataset(&dataset(nr).name).unwrap().is_some();
        assert!((0..kept).all(is_there));
        assert!(!is_there(kept) && is_there(kept + 1));
    }

    #[test]
    fn a_transaction_that_sqlite_gave_up_is_answered_as_lost_to_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.db");
        let mut ledger = DatabaseLedger::open(&path).unwrap();
        let (sender, answers) = sync_channel(2);
        let second = sender.clone();
        let mut group: Vec<Box<dyn Queued>> = vec![
            Box::new(Operation {
                operation: Some(put(0)),
                result: None,
                answer: move |result| sender.send(result).unwrap(),
            }),
            Box::new(Operation {
                // What SQLite does by itself after some errors of the disk.
                operation: Some(|ledger: &mut DatabaseLedger| {
                    ledger.sql().execute("ROLLBACK", &[]).unwrap();
                    Ok(())
                }),
                result: None,
                answer: move |result| second.send(result).unwrap(),
            }),
        ];
        let error = commit_group(&mut ledger, &mut group).expect_err("no transaction");
        ledger.give_up();
        for operation in group {
            let reason = error.to_string();
            operation.settle(&Fate::Lost { reason });
        }
        for answer in answers.iter().take(2) {
            assert!(matches!(answer, Err(WriteError::NotSaved { .. })));
        }
        assert_eq!(ledger.dataset(&dataset(0).name).unwrap(), None);
    }
}

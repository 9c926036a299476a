//! Group commit: one thread owns the connection that writes, and commits many operations at once.
//!
//! An operation is a closure over the ledger. The thread takes all that wait, up to
//! [`OPERATIONS_PER_COMMIT`], runs one after the other, commits, and only then gives the answers:
//! an answered change is on disk. An operation that errs or panics is taken back alone; a commit
//! that fails takes everything back and says so to all. After that, a few groups go with care:
//! the changes of each operation are written behind a savepoint at once, so that one that the
//! database does not take fails alone.
//!
//! A connection that is lost is made anew. Until that succeeds, operations are answered at once
//! with [`WriteError::NotSaved`]. So is a group whose connection broke during the commit: whether
//! it was kept is not known then, and asking again does no harm.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    ledger::{DatabaseLedger, Hint},
    sql::SqlError,
};

/// Operations that share one commit at most.
pub const OPERATIONS_PER_COMMIT: usize = 256;
/// Operations that may wait. When there are more, the next is refused, not kept.
pub const OPERATIONS_WAITING: usize = 4096;

/// Groups that go with care after one that failed.
const CAREFUL_GROUPS: u32 = 4;
/// The first pause before a connection is tried again; each next one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

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
        self.submit_with(Hint::Nothing, operation, answer);
    }

    /// As [`Writer::submit`], and says what the operation will read.
    pub fn submit_with<T, E>(
        &self,
        hint: Hint,
        operation: impl FnOnce(&mut DatabaseLedger) -> Result<T, E> + Send + 'static,
        answer: impl FnOnce(Result<T, WriteError<E>>) + Send + 'static,
    ) where
        T: Send + 'static,
        E: Send + 'static,
    {
        let queued = Box::new(Operation {
            hint,
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
    /// Returns what it will read.
    fn hint(&self) -> &Hint;
    /// Says that its changes cannot be kept.
    fn refuse(&mut self, reason: String);
    /// Runs it and keeps its result.
    fn run(&mut self, ledger: &mut DatabaseLedger) -> Verdict;
    /// Gives the answer.
    fn settle(self: Box<Self>, fate: &Fate);
}

struct Operation<O, A, T, E> {
    hint: Hint,
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
    fn hint(&self) -> &Hint {
        &self.hint
    }

    fn refuse(&mut self, reason: String) {
        self.result = Some(Err(WriteError::NotSaved { reason }));
    }

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
    let mut careful_groups: u32 = 0;
    let mut connection = Connection::default();
    while let Ok(first) = backlog.recv() {
        group.push(first);
        group.extend(backlog.try_iter().take(OPERATIONS_PER_COMMIT - 1));
        let care = match careful_groups {
            0 => Care::Usual,
            _ => Care::Each,
        };
        let done = connection
            .provide(&mut ledger)
            .and_then(|()| commit_group(&mut ledger, &mut group, care));
        let fate = match done {
            Ok(()) => {
                careful_groups = careful_groups.saturating_sub(1);
                Fate::Committed
            }
            Err(error) => {
                ledger.give_up();
                careful_groups = CAREFUL_GROUPS;
                let reason = reason_of(&error);
                tracing::error!(operations = group.len(), reason, "a commit failed");
                Fate::Lost { reason }
            }
        };
        for operation in group.drain(..) {
            operation.settle(&fate);
        }
    }
}

/// The error and what lies behind it.
fn reason_of(error: &SqlError) -> String {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let text = error.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        source = error.source();
    }
    reason
}

/// Makes the connection anew when it is lost, with growing pauses.
#[derive(Debug, Default)]
struct Connection {
    pause: Duration,
    next_try: Option<Instant>,
    /// Why the last try failed.
    reason: String,
}

impl Connection {
    /// Sees to it that there is a connection.
    fn provide(&mut self, ledger: &mut DatabaseLedger) -> Result<(), SqlError> {
        if !ledger.is_lost() {
            return Ok(());
        }
        let now = Instant::now();
        if self.next_try.is_some_and(|next| now < next) {
            return Err(SqlError::Lost {
                reason: self.reason.clone(),
            });
        }
        match ledger.reconnect() {
            Ok(()) => {
                tracing::info!("the database is there again");
                *self = Self::default();
                Ok(())
            }
            Err(error) => {
                self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                self.next_try = Some(Instant::now() + self.pause);
                self.reason = error.to_string();
                Err(SqlError::Lost {
                    reason: self.reason.clone(),
                })
            }
        }
    }
}

/// How soon an operation's changes go to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// With those of the others.
    Usual,
    /// After each operation.
    Each,
}

/// Runs the operations of a group in one transaction and commits it.
fn commit_group(
    ledger: &mut DatabaseLedger,
    group: &mut [Box<dyn Queued>],
    care: Care,
) -> Result<(), SqlError> {
    let hints: Vec<&Hint> = group.iter().map(|operation| operation.hint()).collect();
    begin(ledger, &hints)?;
    for operation in group {
        ledger.begin_operation();
        if care == Care::Each {
            ledger.session().make_savepoint()?;
        }
        if operation.run(ledger) == Verdict::TakeBack {
            ledger.take_back_operation()?;
            continue;
        }
        if care == Care::Each
            && let Err(error) = ledger.session().check_operation()
        {
            operation.refuse(reason_of(&error));
            ledger.take_back_operation()?;
            continue;
        }
        ledger.session().keep_operation()?;
    }
    ledger.session().commit()
}

/// Begins the batch. A connection that was lost while nothing was done is made anew.
fn begin(ledger: &mut DatabaseLedger, hints: &[&Hint]) -> Result<(), SqlError> {
    let Err(error) = ledger.begin_batch(hints) else {
        return Ok(());
    };
    if !ledger.is_lost() || ledger.reconnect().is_err() {
        return Err(error);
    }
    ledger.begin_batch(hints)
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
    use std::ops::ControlFlow;

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
                hint: Hint::Nothing,
                operation: Some(put(0)),
                result: None,
                answer: move |result| sender.send(result).unwrap(),
            }),
            Box::new(Operation {
                // What SQLite does by itself after some errors of the disk.
                hint: Hint::Nothing,
                operation: Some(|ledger: &mut DatabaseLedger| {
                    ledger
                        .session()
                        .peek("ROLLBACK", &[], &mut |_| Ok(ControlFlow::Break(())))
                        .unwrap();
                    Ok(())
                }),
                result: None,
                answer: move |result| second.send(result).unwrap(),
            }),
        ];
        let error = commit_group(&mut ledger, &mut group, Care::Usual).expect_err("no transaction");
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

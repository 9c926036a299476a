//! Questions to the rows: a bounded number at a time, each on a connection of its own.
//!
//! A question that finds all of them busy waits for its turn, and is given up when that takes too
//! long: who asks over HTTP is told to try again (503). A client that goes away before its question
//! has ended makes no room until then, so there are never more connections than that.

use std::{sync::Arc, time::Duration};

use ailurus_model::units::format_duration;
use ailurus_store::{ReadError, Readers};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The rows are out of reach.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Too many others ask.
    #[error(
        "all {readers} readers of the database were busy for {}: try again later",
        format_duration(*waited)
    )]
    Busy {
        /// How many there are.
        readers: usize,
        /// How long a turn was waited for.
        waited: Duration,
    },
}

/// How many ask at a time, and how long others wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadBounds {
    /// Questions, and connections that read, at a time.
    pub(crate) readers: usize,
    /// How long a question waits for its turn.
    pub(crate) wait: Duration,
}

/// The way to the rows for who only reads.
#[derive(Debug)]
pub(crate) struct Reads {
    readers: Arc<Readers>,
    turns: Arc<Semaphore>,
    bounds: ReadBounds,
}

impl Reads {
    /// Bounds who reads.
    pub(crate) fn new(readers: Readers, bounds: ReadBounds) -> Self {
        let turns = bounds.readers.min(Semaphore::MAX_PERMITS);
        Self {
            readers: Arc::new(readers.keeping(bounds.readers)),
            turns: Arc::new(Semaphore::new(turns)),
            bounds,
        }
    }

    /// Asks something on a thread that may block.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Readers) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, AskError> {
        let turn = self.turn().await?;
        let readers = Arc::clone(&self.readers);
        let asking = tokio::task::spawn_blocking(move || {
            let answer = question(&readers);
            drop(turn);
            answer
        });
        let answer = asking
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        Ok(answer?)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, AskError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match timeout(self.bounds.wait, turn).await {
            Ok(turn) => Ok(turn.expect("it is never closed")),
            Err(_) => Err(AskError::Busy {
                readers: self.bounds.readers,
                waited: self.bounds.wait,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ailurus_store::DatabaseLedger;

    use super::*;

    fn reads(readers: usize, wait: Duration) -> (Arc<Reads>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.db");
        drop(DatabaseLedger::open(&path).unwrap());
        let bounds = ReadBounds { readers, wait };
        (Arc::new(Reads::new(Readers::new(&path), bounds)), dir)
    }

    fn easy(readers: &Readers) -> Result<(), ReadError> {
        readers.read(|reader| reader.queue_counts().map(drop))
    }

    #[tokio::test]
    async fn a_question_waits_for_its_turn_and_is_given_up_when_none_comes() {
        let (reads, _dir) = reads(1, Duration::from_millis(50));
        let (began, has_begun) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let long = {
            let reads = Arc::clone(&reads);
            tokio::spawn(async move {
                let question = move |readers: &Readers| {
                    began.send(()).unwrap();
                    ends.recv().unwrap();
                    easy(readers)
                };
                reads.ask(question).await
            })
        };
        tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
            .await
            .unwrap();
        let refused = reads.ask(easy).await;
        assert!(
            matches!(refused, Err(AskError::Busy { readers: 1, .. })),
            "{refused:?}"
        );
        // Who goes away leaves no room as long as the question is at work.
        long.abort();
        assert!(long.await.unwrap_err().is_cancelled());
        let refused = reads.ask(easy).await;
        let text = refused.expect_err("it is still busy").to_string();
        assert!(text.ends_with("try again later"), "{text}");
        end.send(()).unwrap();
        while reads.ask(easy).await.is_err() {}
    }

    #[tokio::test]
    async fn never_more_questions_run_than_there_are_readers() {
        const READERS: usize = 3;
        let (reads, _dir) = reads(READERS, Duration::from_secs(60));
        let running = Arc::new(Semaphore::new(READERS));
        let asking: Vec<_> = (0..40)
            .map(|_| {
                let (reads, running) = (Arc::clone(&reads), Arc::clone(&running));
                tokio::spawn(async move {
                    let question = move |readers: &Readers| {
                        let _one = running.try_acquire().expect("one too many");
                        easy(readers)
                    };
                    reads.ask(question).await
                })
            })
            .collect();
        for one in asking {
            one.await.unwrap().unwrap();
        }
    }
}

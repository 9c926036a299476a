//! A connection to `PostgreSQL` that one thread drives: it moves only while that thread waits.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, Error, Socket, tls::MakeTlsConnect};

/// The connection, and what drives it.
pub(crate) struct Link {
    client: Client,
    runtime: Runtime,
}

/// There is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The system refuses what a connection needs.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The database cannot be reached, or refuses.
    #[error(transparent)]
    Database(#[from] Error),
}

impl Link {
    /// Connects.
    pub(crate) fn connect<T>(config: &Config, tls: T) -> Result<Self, LinkError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let (client, connection) = config.connect(tls).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(%error, "a connection to the database broke");
                }
            });
            Ok::<_, Error>(client)
        })?;
        Ok(Self { client, runtime })
    }

    /// Who makes requests. They are sent when they are first waited for.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// As [`Link::client`], for transactions of its own kind.
    pub(crate) const fn runtime_and_client(&mut self) -> (&Runtime, &mut Client) {
        (&self.runtime, &mut self.client)
    }

    /// Waits for an answer.
    pub(crate) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }

    /// Sends requests one after the other, and waits for all of their answers.
    pub(crate) fn wait_for_all<F: Future>(
        &self,
        requests: impl Iterator<Item = F>,
    ) -> Vec<F::Output> {
        let mut requests: Vec<Request<F>> = requests.map(Request::new).collect();
        self.wait(poll_fn(|context| {
            let mut is_done = true;
            // Each is sent when it is first polled, so they keep their order.
            for request in &mut requests {
                is_done &= request.poll(context);
            }
            match is_done {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        requests
            .into_iter()
            .filter_map(|request| request.answer)
            .collect()
    }
}

/// A request on its way.
struct Request<F: Future> {
    answer: Option<F::Output>,
    future: Pin<Box<F>>,
}

impl<F: Future> Request<F> {
    fn new(future: F) -> Self {
        Self {
            answer: None,
            future: Box::pin(future),
        }
    }

    /// Moves on, and says whether the answer is there.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if self.answer.is_none()
            && let Poll::Ready(answer) = pin!(&mut self.future).poll(context)
        {
            self.answer = Some(answer);
        }
        self.answer.is_some()
    }
}

//! What one request may take of the server: a turn, time, and no more than its own life if its
//! handler panics.
//!
//! Files take their time to arrive, so calls that take one have turns and a limit of their own.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::{sync::Semaphore, time::timeout};

use crate::{config::Config, panda};

/// Files that arrive at the same time; more wait.
const UPLOADS_AT_ONCE: usize = 32;

/// What requests may take.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    calls: Bound,
    uploads: Bound,
}

/// What one request of a kind may take.
#[derive(Debug, Clone)]
struct Bound {
    /// From its head to its answer, waiting for its turn included.
    time: Duration,
    /// One for each request that is handled.
    turns: Arc<Semaphore>,
}

impl Bounds {
    /// Takes the bounds that the configuration sets.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            calls: Bound {
                time: config.request_timeout,
                turns: Arc::new(Semaphore::new(config.requests)),
            },
            uploads: Bound {
                time: config.upload_timeout,
                turns: Arc::new(Semaphore::new(UPLOADS_AT_ONCE)),
            },
        }
    }
}

/// Has a request wait for its turn, and gives it up if it takes too long. What it wrote may be
/// kept all the same: clients ask again, and asking twice does no harm.
pub(crate) async fn keep(State(bounds): State<Bounds>, request: Request, next: Next) -> Response {
    let bound = if panda::takes_file(request.uri().path()) {
        &bounds.uploads
    } else {
        &bounds.calls
    };
    let handled = async {
        let _turn = bound.turns.acquire().await.expect("it is never closed");
        let path = request.uri().path().to_owned();
        match Caught(pin!(next.run(request))).await {
            Ok(response) => response,
            Err(panic) => {
                let panic = text_of(&*panic);
                tracing::error!(
                    path,
                    panic,
                    "a request was not answered: please report this"
                );
                let text = "ERROR : the server failed on this request";
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
        }
    };
    match timeout(bound.time, handled).await {
        Ok(response) => response,
        Err(_) => {
            let text = format!("ERROR : the request took longer than {:?}", bound.time);
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

/// Ends with what the inner future panics with, if it does. It is not asked again then.
struct Caught<F>(F);

impl<F: Future + Unpin> Future for Caught<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // What a handler shares with others is the app, whose parts are whole whatever happens.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.0).poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_words() {
        let panicking = pin!(async {
            tokio::task::yield_now().await;
            panic!("a bug {}", 7)
        });
        let caught: Result<(), _> = Caught(panicking).await;
        assert_eq!(text_of(&*caught.expect_err("it panics")), "a bug 7");
        assert_eq!(Caught(pin!(async { 7 })).await.expect("it ends"), 7);
    }
}

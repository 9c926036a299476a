//! A TCP proxy on loopback that breaks connections, the same way for the same seed.
//!
//! What happens to a connection depends only on the seed and on the number of the connection, in
//! the order in which they come: [`Habits::plan`]. Bytes are counted over both directions, and a
//! break comes after exactly so many, so that it hits any place of any protocol. The other side
//! need not speak HTTP: `xrdcp` is broken as well.

use std::{
    net::{Shutdown, SocketAddr, TcpStream},
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::listener::{self, Listener};

mod relay;

use relay::{End, Relay};

/// Longest stall, if nobody releases it.
const STALL_MAX: Duration = Duration::from_mins(2);

/// Something that is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: everything passes.
    Pass,
    /// The connection is closed politely on both sides after so many bytes.
    Cut {
        /// Bytes of both directions that pass before.
        after: u64,
    },
    /// The connection is reset on both sides after so many bytes.
    Reset {
        /// Bytes of both directions that pass before.
        after: u64,
    },
    /// After so many bytes nothing passes any more until [`BreakingProxy::release`], at most for
    /// `limit`; then everything does.
    Stall {
        /// Bytes of both directions that pass before.
        after: u64,
        /// Longest stall.
        limit: Duration,
    },
    /// Nothing passes at first; then everything does.
    Delay {
        /// How long nothing passes.
        pause: Duration,
    },
    /// Everything passes, but no faster than this.
    Slow {
        /// Bytes of both directions.
        bytes_per_second: u64,
    },
    /// The connection is accepted and reset at once.
    Refuse,
}

/// How a proxy behaves: how often it does what, and where.
#[derive(Debug, Clone)]
pub struct Habits {
    /// The same seed gives the same plans.
    pub seed: u64,
    /// How often a connection just passes, against the other weights.
    pub pass: u32,
    /// How often it is cut.
    pub cut: u32,
    /// How often it is reset.
    pub reset: u32,
    /// How often it stalls.
    pub stall: u32,
    /// How often it is delayed.
    pub delay: u32,
    /// How often it is slow.
    pub slow: u32,
    /// How often it is refused.
    pub refuse: u32,
    /// After how many bytes of both directions it is cut, reset or stalled.
    pub after: Range<u64>,
    /// How long it is delayed.
    pub pause: Range<Duration>,
    /// How long it stalls if nobody releases it.
    pub stall_limit: Duration,
    /// How slow it is, in bytes a second.
    pub bytes_per_second: Range<u64>,
}

impl Habits {
    /// Habits by which half of the connections break somewhere in the first 64 KiB, in all ways.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self {
            seed,
            pass: 10,
            cut: 4,
            reset: 4,
            stall: 1,
            delay: 1,
            slow: 1,
            refuse: 1,
            after: 1..64 * 1024,
            pause: Duration::from_millis(1)..Duration::from_millis(50),
            stall_limit: Duration::from_secs(2),
            bytes_per_second: 100_000..10_000_000,
        }
    }

    /// Says what happens to a connection; the first has the number 0.
    #[must_use]
    pub fn plan(&self, nr: u64) -> Plan {
        // Neighbouring numbers must not have similar plans.
        let mut chance =
            fastrand::Rng::with_seed(self.seed ^ nr.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        chance.u64(..);
        let after = draw(&mut chance, &self.after);
        let weights = [
            (self.pass, Plan::Pass),
            (self.cut, Plan::Cut { after }),
            (self.reset, Plan::Reset { after }),
            (
                self.stall,
                Plan::Stall {
                    after,
                    limit: self.stall_limit,
                },
            ),
            (
                self.delay,
                Plan::Delay {
                    pause: self.draw_pause(&mut chance),
                },
            ),
            (
                self.slow,
                Plan::Slow {
                    bytes_per_second: draw(&mut chance, &self.bytes_per_second),
                },
            ),
            (self.refuse, Plan::Refuse),
        ];
        let sum: u32 = weights.iter().map(|(weight, _)| weight).sum();
        let mut place = chance.u32(..sum.max(1));
        for (weight, plan) in weights {
            if place < weight {
                return plan;
            }
            place -= weight;
        }
        Plan::Pass
    }

    fn draw_pause(&self, chance: &mut fastrand::Rng) -> Duration {
        let spread = self.pause.end.saturating_sub(self.pause.start);
        self.pause.start + spread.mul_f64(chance.f64())
    }
}

fn draw(chance: &mut fastrand::Rng, range: &Range<u64>) -> u64 {
    if range.is_empty() {
        range.start
    } else {
        chance.u64(range.clone())
    }
}

/// What a proxy has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that came.
    pub connections: u64,
    /// Connections that it could not pass on, for nobody listened behind it.
    pub unreachable: u64,
    /// Connections that were cut; one that ended by itself before its place is not counted, and
    /// so with the others.
    pub cut: u64,
    /// Connections that were reset.
    pub reset: u64,
    /// Connections that stalled.
    pub stalled: u64,
    /// Connections that were delayed.
    pub delayed: u64,
    /// Connections that were slow.
    pub slowed: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Bytes that passed, both directions.
    pub bytes: u64,
}

impl Counts {
    /// Returns how many connections were ended by the proxy.
    #[must_use]
    pub const fn broken(&self) -> u64 {
        self.cut + self.reset + self.refused
    }
}

/// A running proxy. It ends with this value, and its connections with it.
#[derive(Debug)]
pub struct BreakingProxy {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    counts: Mutex<Counts>,
    /// Bytes that have passed on all connections, counted before their end can be seen.
    n_bytes: AtomicU64,
    /// Raised by each release; a stall ends when it differs from what it began with.
    releases: AtomicU64,
    is_healed: AtomicBool,
}

impl BreakingProxy {
    /// Starts a proxy before `target` with these habits.
    ///
    /// # Errors
    ///
    /// Loopback has no free port.
    pub fn start(target: SocketAddr, habits: Habits) -> anyhow::Result<Self> {
        Self::start_planned(target, move |nr| habits.plan(nr))
    }

    /// Starts a proxy before `target` that does to each connection what `plan` says for its
    /// number.
    ///
    /// # Errors
    ///
    /// Loopback has no free port.
    pub fn start_planned<F>(target: SocketAddr, plan: F) -> anyhow::Result<Self>
    where
        F: Fn(u64) -> Plan + Send + Sync + 'static,
    {
        let shared = Arc::new(Shared::default());
        let of_listener = Arc::clone(&shared);
        let listener = Listener::start(None, move |client| {
            let nr = of_listener.next.fetch_add(1, Ordering::SeqCst);
            of_listener.count(|counts| counts.connections += 1);
            let is_healed = of_listener.is_healed.load(Ordering::SeqCst);
            let plan = if is_healed { Plan::Pass } else { plan(nr) };
            of_listener.serve(client, target, plan);
        })?;
        Ok(Self { listener, shared })
    }

    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Returns a URL of the server behind with host and port of the proxy in their place.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let path = rest.find('/').map_or("", |start| &rest[start..]);
        format!("{scheme}://localhost:{}{path}", self.address().port())
    }

    /// Returns what it has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = *self.shared.lock();
        counts.bytes = self.shared.n_bytes.load(Ordering::SeqCst);
        counts
    }

    /// Ends the stalls of now.
    pub fn release(&self) {
        self.shared.releases.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets every further connection pass, and ends the stalls of now.
    pub fn heal(&self) {
        self.shared.is_healed.store(true, Ordering::SeqCst);
        self.release();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, what: impl FnOnce(&mut Counts)) {
        what(&mut self.lock());
    }

    fn serve(&self, client: &TcpStream, target: SocketAddr, plan: Plan) {
        if plan == Plan::Refuse {
            self.count(|counts| counts.refused += 1);
            listener::reset(client);
            return;
        }
        let Ok(server) = TcpStream::connect(target) else {
            self.count(|counts| counts.unreachable += 1);
            return;
        };
        let mut relay = Relay::new(client, &server, &self.n_bytes);
        let end = self.carry_out(&mut relay, plan);
        // The rest of the counts is of what really happened; an error is an end by either side.
        let is_reset = matches!(end, Ok(End::Reset));
        for stream in [client, &server] {
            if is_reset {
                listener::reset(stream);
            } else {
                drop(stream.shutdown(Shutdown::Both));
            }
        }
    }

    /// Lets bytes pass as planned.
    fn carry_out(&self, relay: &mut Relay<'_>, plan: Plan) -> std::io::Result<End> {
        let seen = self.releases.load(Ordering::SeqCst);
        match plan {
            Plan::Pass | Plan::Refuse => relay.pass(None),
            Plan::Cut { after } => match relay.pass(Some(after))? {
                End::Limit => {
                    self.count(|counts| counts.cut += 1);
                    Ok(End::Cut)
                }
                end @ (End::BySides | End::Cut | End::Reset) => Ok(end),
            },
            Plan::Reset { after } => match relay.pass(Some(after))? {
                End::Limit => {
                    self.count(|counts| counts.reset += 1);
                    Ok(End::Reset)
                }
                end @ (End::BySides | End::Cut | End::Reset) => Ok(end),
            },
            Plan::Stall { after, limit } => match relay.pass(Some(after))? {
                End::Limit => {
                    self.count(|counts| counts.stalled += 1);
                    relay.hold(limit.min(STALL_MAX), || {
                        self.releases.load(Ordering::SeqCst) != seen
                    })?;
                    relay.pass(None)
                }
                end @ (End::BySides | End::Cut | End::Reset) => Ok(end),
            },
            Plan::Delay { pause } => {
                self.count(|counts| counts.delayed += 1);
                relay.hold(pause, || false)?;
                relay.pass(None)
            }
            Plan::Slow { bytes_per_second } => {
                self.count(|counts| counts.slowed += 1);
                relay.slow_down(bytes_per_second);
                relay.pass(None)
            }
        }
    }
}

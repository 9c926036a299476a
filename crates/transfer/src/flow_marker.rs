//! Tells networks which experiment and activity a connection is for: `SciTags` flow markers.
//!
//! A [`FlowMarker`] sends small UDP packets (*fireflies*) when a connection with a storage begins and
//! ends, to the storage's host, so that they take the way of the data, and to collectors. Programs
//! that move data themselves tell the storage the same by a number ([`FlowId::scitag`]): in the URL
//! for XRootD ([`TaggingTool`]), in the header [`SCITAG_HEADER`] for HTTP
//! ([`HttpOptions`](crate::http::HttpOptions)), by `--scitag` for `gfal-copy`; the storage then sends
//! the packets.
//!
//! A marker never delays or fails a transfer: what cannot be sent at once is not sent.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use ailurus_model::Timestamp;

use crate::Direction;

mod firefly;
mod tool;

use firefly::{Firefly, State};
pub use firefly::{Flow, Usage};
pub use tool::TaggingTool;

/// Where the receivers of fireflies listen.
pub const FIREFLY_PORT: u16 = 10_514;

/// The header by which an HTTP client tells a storage its [`FlowId::scitag`].
pub const SCITAG_HEADER: &str = "SciTag";

/// Most bytes of a packet: it fits into every network's without being cut.
const PACKET_MAX: usize = 1200;

/// Most packets that a pilot sends in a second. More are left out.
const PACKETS_PER_SECOND_MAX: u32 = 100;

/// Shortest time between two packets about a flow that goes on.
const ONGOING_INTERVAL: Duration = Duration::from_secs(60);

/// The numbers by which networks know an experiment and what it does.
///
/// Source: the registry of `SciTags` (`scitags.org/api.json`); XRootD, `XrdNetPMark.hh`, for ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowId {
    experiment: u16,
    activity: u16,
}

impl FlowId {
    /// Makes an id from the registry's numbers: experiments from 1 to 1023, activities from 1 to
    /// 63. None for others.
    #[must_use]
    pub const fn new(experiment: u16, activity: u16) -> Option<Self> {
        if experiment == 0 || experiment > 1023 || activity == 0 || activity > 63 {
            return None;
        }
        Some(Self {
            experiment,
            activity,
        })
    }

    /// Returns both in one number.
    #[must_use]
    pub const fn scitag(self) -> u16 {
        self.experiment << 6 | self.activity
    }

    /// Adds the number to the URL of an XRootD server, for its client.
    #[must_use]
    pub fn tag_url(self, url: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        format!("{url}{separator}scitag.flow={}", self.scitag())
    }
}

/// The ids of what a job moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowIds {
    /// Of inputs.
    pub input: FlowId,
    /// Of outputs.
    pub output: FlowId,
}

impl FlowIds {
    /// Returns that of a direction.
    #[must_use]
    pub const fn of(self, direction: Direction) -> FlowId {
        match direction {
            Direction::StageIn => self.input,
            Direction::StageOut => self.output,
        }
    }
}

/// Who gets fireflies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// The storage's host, at [`FIREFLY_PORT`]: networks on the way read along.
    Storage,
    /// A collector.
    Collector(SocketAddr),
}

/// A marker as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowMarkerConfig {
    /// Who is marked.
    pub id: FlowId,
    /// Who is told.
    pub receivers: Vec<Receiver>,
    /// Name and version of this program, as `name/version`.
    pub application: String,
    /// This node's name.
    pub host: String,
}

/// Marks the connections of a pilot. Its clones are the same marker.
#[derive(Debug, Clone)]
pub struct FlowMarker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: FlowMarkerConfig,
    ipv4: Option<UdpSocket>,
    ipv6: Option<UdpSocket>,
    /// The second that runs, and packets sent in it.
    pace: Mutex<(Instant, u32)>,
    left_out: AtomicU64,
}

/// A connection that is marked. Its end is told when it is dropped.
#[derive(Debug)]
pub struct MarkedFlow {
    marker: FlowMarker,
    flow: Flow,
    start: Timestamp,
    usage: Option<Usage>,
    told: Instant,
}

impl FlowMarker {
    /// Makes a marker.
    ///
    /// # Errors
    ///
    /// The operating system's, if it has no socket of either kind.
    pub fn new(config: FlowMarkerConfig) -> io::Result<Self> {
        let ipv6 = socket(Ipv6Addr::UNSPECIFIED.into());
        let (ipv4, ipv6) = match (socket(Ipv4Addr::UNSPECIFIED.into()), ipv6) {
            (Err(error), Err(_)) => return Err(error),
            (ipv4, ipv6) => (ipv4.ok(), ipv6.ok()),
        };
        Ok(Self(Arc::new(Inner {
            config,
            ipv4,
            ipv6,
            pace: Mutex::new((Instant::now(), 0)),
            left_out: AtomicU64::new(0),
        })))
    }

    /// Returns the numbers that it marks with.
    #[must_use]
    pub fn id(&self) -> FlowId {
        self.0.config.id
    }

    /// Tells that a connection began.
    #[must_use]
    pub fn begin(&self, flow: Flow) -> MarkedFlow {
        let marked = MarkedFlow {
            marker: self.clone(),
            flow,
            start: now(),
            usage: None,
            told: Instant::now(),
        };
        marked.tell(State::Start);
        marked
    }

    /// Returns how many packets were not sent: the network refused them, or there were too many.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.0.left_out.load(Ordering::Relaxed)
    }

    fn send(&self, firefly: &Firefly<'_>) {
        let packet = firefly.encode();
        for receiver in &self.0.config.receivers {
            let to = match receiver {
                Receiver::Storage => {
                    let ip = firefly.flow.remote.ip().to_canonical();
                    SocketAddr::new(ip, FIREFLY_PORT)
                }
                Receiver::Collector(address) => *address,
            };
            let socket = if to.is_ipv4() {
                &self.0.ipv4
            } else {
                &self.0.ipv6
            };
            let is_sent = packet.len() <= PACKET_MAX
                && self.may_send()
                && socket
                    .as_ref()
                    .is_some_and(|it| it.send_to(packet.as_bytes(), to).is_ok());
            if !is_sent {
                self.0.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a packet, unless there were too many in this second.
    fn may_send(&self) -> bool {
        let mut pace = self.0.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.0.elapsed() >= Duration::from_secs(1) {
            *pace = (Instant::now(), 0);
        }
        pace.1 = pace.1.saturating_add(1);
        pace.1 <= PACKETS_PER_SECOND_MAX
    }
}

impl MarkedFlow {
    /// Notes what has moved, and tells it now and then.
    pub fn goes_on(&mut self, usage: Usage) {
        self.usage = Some(usage);
        if self.told.elapsed() >= ONGOING_INTERVAL {
            self.told = Instant::now();
            self.tell(State::Ongoing);
        }
    }

    /// Tells that the connection ended, and what has moved in all.
    pub fn end(mut self, usage: Usage) {
        self.usage = Some(usage);
    }

    fn tell(&self, state: State) {
        let config = &self.marker.0.config;
        self.marker.send(&Firefly {
            flow: self.flow,
            state,
            id: config.id,
            start: self.start,
            now: now(),
            usage: self.usage,
            application: &config.application,
            host: &config.host,
        });
    }
}

impl Drop for MarkedFlow {
    fn drop(&mut self) {
        self.tell(State::End);
    }
}

fn socket(any: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use ailurus_model::ByteCount;

    use super::*;

    fn collector() -> (UdpSocket, Receiver) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let limit = Duration::from_secs(30);
        socket.set_read_timeout(Some(limit)).expect("not zero");
        let receiver = Receiver::Collector(socket.local_addr().expect("bound"));
        (socket, receiver)
    }

    fn marker(receivers: Vec<Receiver>) -> FlowMarker {
        FlowMarker::new(FlowMarkerConfig {
            id: FlowId::new(7, 1).expect("in range"),
            receivers,
            application: "ailurus-pilot/0.1.0".into(),
            host: "wn17".into(),
        })
        .expect("a socket")
    }

    fn flow() -> Flow {
        Flow {
            local: "192.0.2.7:40100".parse().expect("an address"),
            remote: "198.51.100.9:443".parse().expect("an address"),
        }
    }

    fn receive(socket: &UdpSocket) -> String {
        let mut packet = [0; 2000];
        let length = socket.recv(&mut packet).expect("within the limit");
        String::from_utf8(packet[..length].to_vec()).expect("text")
    }

    #[test]
    fn begin_and_end_reach_the_collector() {
        let (socket, receiver) = collector();
        let marker = marker(vec![receiver]);
        let mut flow = marker.begin(flow());
        assert!(receive(&socket).contains("\"state\":\"start\""));
        let usage = Usage {
            received: ByteCount::from_bytes(17),
            sent: ByteCount::ZERO,
        };
        // Too early for a packet of its own.
        flow.goes_on(usage);
        flow.end(usage);
        let end = receive(&socket);
        assert!(end.contains("\"state\":\"end\""), "{end}");
        assert!(
            end.contains("\"usage\":{\"received\":17,\"sent\":0}"),
            "{end}"
        );
        assert_eq!(marker.left_out(), 0);
    }

    #[test]
    fn a_broken_connection_has_an_end_too() {
        let (socket, receiver) = collector();
        drop(marker(vec![receiver]).begin(flow()));
        assert!(receive(&socket).contains("\"state\":\"start\""));
        assert!(receive(&socket).contains("\"state\":\"end\""));
    }

    #[test]
    fn more_than_a_network_is_to_bear_is_left_out() {
        let (_socket, receiver) = collector();
        let marker = marker(vec![receiver]);
        for _ in 0..10_000 {
            drop(marker.begin(flow()));
        }
        assert!(marker.left_out() > 0);
    }

    #[test]
    fn a_receiver_that_cannot_be_reached_harms_nobody() {
        // Port 0 cannot be sent to.
        let nowhere = Receiver::Collector("127.0.0.1:0".parse().expect("an address"));
        let marker = marker(vec![nowhere]);
        drop(marker.begin(flow()));
        assert_eq!(marker.left_out(), 2);
    }

    #[test]
    fn numbers_out_of_the_registrys_ranges_are_none() {
        for (experiment, activity) in [(0, 1), (1, 0), (1024, 1), (1, 64)] {
            assert_eq!(FlowId::new(experiment, activity), None);
        }
        assert_eq!(FlowId::new(1023, 63).expect("the last").scitag(), u16::MAX);
        assert_eq!(FlowId::new(1, 1).expect("the first").scitag(), 65);
    }

    #[test]
    fn an_xrootd_server_is_told_in_the_url() {
        let id = FlowId::new(3, 14).expect("in range");
        assert_eq!(
            id.tag_url("root://eos.example.org//a"),
            "root://eos.example.org//a?scitag.flow=206"
        );
        assert_eq!(
            id.tag_url("root://eos.example.org//a?authz=x"),
            "root://eos.example.org//a?authz=x&scitag.flow=206"
        );
    }
}

//! The text of a firefly: pure.
//!
//! Source: `SciTags` technical specification, schema `firefly` 1.0.0 (`scitags.org/schemas/v1.0.0`),
//! behind a header as syslog has it (RFC 5424); `scitags/flowd`, `scitags/backends/udp_firefly.py`.

use std::net::{IpAddr, SocketAddr};

use ailurus_model::{ByteCount, Timestamp};
use serde::Serialize;

use super::FlowId;

/// Facility `local0`, severity `informational`.
const PRIORITY: u8 = 16 * 8 + 6;

/// The kind of message in the header.
const MESSAGE_KIND: &str = "firefly-json";

/// Most bytes of a name in the message, so that one packet holds it all.
const NAME_MAX: usize = 128;

/// A connection as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// This node's side.
    pub local: SocketAddr,
    /// The storage's side.
    pub remote: SocketAddr,
}

/// Bytes of a flow so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// What this node received.
    pub received: ByteCount,
    /// What this node sent.
    pub sent: ByteCount,
}

/// What a firefly tells about a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Start,
    Ongoing,
    End,
}

/// What a firefly says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Firefly<'a> {
    pub(super) flow: Flow,
    pub(super) state: State,
    pub(super) id: FlowId,
    pub(super) start: Timestamp,
    pub(super) now: Timestamp,
    pub(super) usage: Option<Usage>,
    /// Name and version of the program.
    pub(super) application: &'a str,
    /// This node's name.
    pub(super) host: &'a str,
}

impl Firefly<'_> {
    /// Writes the packet.
    pub(super) fn encode(&self) -> String {
        let now = self.now.to_iso_text();
        // Fields of the header are words of printable ASCII; an unknown one is a dash.
        let word = |text: &str| {
            let word: String = text.chars().filter(char::is_ascii_graphic).collect();
            let word = cut(&word).to_owned();
            if word.is_empty() {
                "-".to_owned()
            } else {
                word
            }
        };
        let host = word(self.host);
        let application = word(
            self.application
                .split(['/', ' '])
                .next()
                .unwrap_or_default(),
        );
        let header = format!("<{PRIORITY}>1 {now} {host} {application} - {MESSAGE_KIND} - ");
        let body = serde_json::to_string(&self.message(now)).expect("text, numbers, text keys");
        header + &body
    }

    fn message(&self, now: String) -> Message<'_> {
        // An IPv4 address in IPv6's clothes is IPv4 on the wire.
        let (src, dst) = (self.flow.local, self.flow.remote);
        let (src_ip, dst_ip) = (src.ip().to_canonical(), dst.ip().to_canonical());
        Message {
            version: 1,
            flow_lifecycle: Lifecycle {
                state: match self.state {
                    State::Start => "start",
                    State::Ongoing => "ongoing",
                    State::End => "end",
                },
                start_time: self.start.to_iso_text(),
                end_time: (self.state == State::End).then(|| now.clone()),
                current_time: now,
            },
            flow_id: FiveTuple {
                afi: if dst_ip.is_ipv4() { "ipv4" } else { "ipv6" },
                src_ip,
                dst_ip,
                protocol: "tcp",
                src_port: src.port(),
                dst_port: dst.port(),
            },
            usage: self.usage.map(|usage| Bytes {
                received: usage.received.as_bytes(),
                sent: usage.sent.as_bytes(),
            }),
            context: Context {
                experiment_id: self.id.experiment,
                activity_id: self.id.activity,
                application: cut(self.application),
            },
        }
    }
}

/// Returns the beginning of a text, at most [`NAME_MAX`] bytes of it.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_MAX)]
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Message<'a> {
    version: u8,
    flow_lifecycle: Lifecycle,
    flow_id: FiveTuple,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Bytes>,
    context: Context<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Lifecycle {
    state: &'static str,
    current_time: String,
    start_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FiveTuple {
    afi: &'static str,
    src_ip: IpAddr,
    dst_ip: IpAddr,
    protocol: &'static str,
    src_port: u16,
    dst_port: u16,
}

#[derive(Serialize)]
struct Bytes {
    received: u64,
    sent: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Context<'a> {
    experiment_id: u16,
    activity_id: u16,
    application: &'a str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn firefly(flow: Flow, state: State) -> Firefly<'static> {
        Firefly {
            flow,
            state,
            id: FlowId::new(7, 20).expect("in range"),
            start: Timestamp::from_millis(1_795_376_921_000),
            now: Timestamp::from_millis(1_795_376_925_250),
            usage: None,
            application: "ailurus-pilot/0.1.0",
            host: "wn17.example.org",
        }
    }

    fn flow(local: &str, remote: &str) -> Flow {
        let read = |text: &str| text.parse().expect("an address");
        Flow {
            local: read(local),
            remote: read(remote),
        }
    }

    #[test]
    fn the_end_of_a_flow_reads_as_the_specification_says() {
        let mut firefly = firefly(flow("192.0.2.7:40100", "198.51.100.9:443"), State::End);
        firefly.usage = Some(Usage {
            received: ByteCount::from_mib(1),
            sent: ByteCount::from_bytes(512),
        });
        assert_eq!(
            firefly.encode(),
            "<134>1 2026-11-22T19:48:45.250Z wn17.example.org ailurus-pilot - firefly-json - \
             {\"version\":1,\
             \"flow-lifecycle\":{\"state\":\"end\",\"current-time\":\"2026-11-22T19:48:45.250Z\",\
             \"start-time\":\"2026-11-22T19:48:41.000Z\",\"end-time\":\"2026-11-22T19:48:45.250Z\"},\
             \"flow-id\":{\"afi\":\"ipv4\",\"src-ip\":\"192.0.2.7\",\"dst-ip\":\"198.51.100.9\",\
             \"protocol\":\"tcp\",\"src-port\":40100,\"dst-port\":443},\
             \"usage\":{\"received\":1048576,\"sent\":512},\
             \"context\":{\"experiment-id\":7,\"activity-id\":20,\
             \"application\":\"ailurus-pilot/0.1.0\"}}"
        );
    }

    #[test]
    fn a_mapped_address_is_told_as_ipv4_and_a_flow_without_end_has_none() {
        let text = firefly(
            flow("[::ffff:192.0.2.7]:40100", "[::ffff:198.51.100.9]:443"),
            State::Start,
        )
        .encode();
        assert!(
            text.contains("\"afi\":\"ipv4\",\"src-ip\":\"192.0.2.7\""),
            "{text}"
        );
        assert!(
            !text.contains("end-time") && !text.contains("usage"),
            "{text}"
        );
        let text = firefly(flow("[2001:db8::7]:1", "[2001:db8::9]:2"), State::Ongoing).encode();
        assert!(
            text.contains("\"afi\":\"ipv6\",\"src-ip\":\"2001:db8::7\""),
            "{text}"
        );
        assert!(text.contains("\"state\":\"ongoing\""), "{text}");
    }

    proptest! {
        #[test]
        fn one_packet_holds_any_firefly_and_no_name_breaks_it(
            local: SocketAddr,
            remote: SocketAddr,
            application in any::<String>(),
            host in any::<String>(),
            millis: i64,
            received: u64,
        ) {
            let mut firefly = firefly(Flow { local, remote }, State::End);
            firefly.application = &application;
            firefly.host = &host;
            firefly.now = Timestamp::from_millis(millis);
            let received = ByteCount::from_bytes(received);
            firefly.usage = Some(Usage { received, sent: received });
            let text = firefly.encode();
            prop_assert!(text.len() <= super::super::PACKET_MAX, "{}", text.len());
            let parts: Vec<&str> = text.splitn(8, ' ').collect();
            prop_assert_eq!(parts[4..7].join(" "), "- firefly-json -");
            prop_assert!(parts[..7].iter().all(|it| it.is_ascii() && !it.is_empty()));
            let body = parts[7];
            let read: serde_json::Value = serde_json::from_str(body).expect("JSON");
            prop_assert_eq!(&read["flow-id"]["dst-port"], remote.port());
            let told = read["context"]["application"].as_str().expect("text");
            prop_assert!(application.starts_with(told));
        }
    }
}

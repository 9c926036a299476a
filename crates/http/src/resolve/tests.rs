//! The resolver against DNS servers on loopback that answer, fail, lie or keep silent.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    path::Path,
    thread,
};

use super::*;

const A: u16 = 1;
const AAAA: u16 = 28;

/// What a stand-in server does with a question.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Address(u16, &'static [u8]),
    NoData,
    Code(u8),
    Truncated,
    Silence,
    /// Three datagrams that answer something else, then the truth.
    LiesFirst(&'static [u8]),
}

/// Starts a DNS server that lives as long as the test's process; the same port takes TCP, where
/// every question for `A` is answered by 192.0.2.44.
fn server(answer: fn(&str, u16) -> Reply) -> u16 {
    let (udp, tcp) = bind_both();
    let port = udp.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let question = &buffer[..length];
            let (name, record) = read_question(question);
            let send = |bytes: &[u8]| drop(udp.send_to(bytes, from));
            match answer(&name, record) {
                Reply::Address(kind, data) if kind == record => {
                    send(&reply(question, 0, Some(data)));
                }
                Reply::Address(..) | Reply::NoData => send(&reply(question, 0, None)),
                Reply::Code(code) => send(&reply(question, code, None)),
                Reply::Truncated => {
                    let mut bytes = reply(question, 0, None);
                    bytes[2] |= 2;
                    send(&bytes);
                }
                Reply::Silence => {}
                Reply::LiesFirst(data) => {
                    let mut other_id = reply(question, 0, Some(&[6, 6, 6, 6]));
                    other_id[0] ^= 0xff;
                    send(&other_id);
                    send(b"\x00");
                    let other_name = question.to_ascii_uppercase();
                    send(&reply(&other_name[..14], 0, None));
                    send(&reply(question, 0, (record == A).then_some(data)));
                }
            }
        }
    });
    thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let (_, record) = read_question(&question);
            let data: Option<&[u8]> = (record == A).then_some(&[192, 0, 2, 44]);
            let bytes = reply(&question, 0, data);
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            stream.write_all(&length).unwrap();
            // In pieces, as networks do.
            for piece in bytes.chunks(5) {
                stream.write_all(piece).unwrap();
            }
        }
    });
    port
}

fn bind_both() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

fn read_question(bytes: &[u8]) -> (String, u16) {
    let mut labels = Vec::new();
    let mut at = 12;
    while bytes[at] != 0 {
        let end = at + 1 + usize::from(bytes[at]);
        labels.push(String::from_utf8_lossy(&bytes[at + 1..end]).into_owned());
        at = end;
    }
    let record = u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]);
    (labels.join("."), record)
}

fn reply(question: &[u8], code: u8, data: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80;
    bytes[3] = code;
    if let Some(data) = data {
        bytes[7] = 1;
        let kind = if data.len() == 4 { A } else { AAAA };
        bytes.extend(*b"\xc0\x0c");
        bytes.extend(kind.to_be_bytes());
        bytes.extend(*b"\x00\x01\x00\x00\x00\x3c");
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// A resolver whose files are in `folder` and whose last resort is `last_resort`.
fn resolver(folder: &Path, port: u16, last_resort: &[&str]) -> HostResolver {
    HostResolver {
        hosts_file: folder.join("hosts"),
        configuration_file: folder.join("resolv.conf"),
        dns_port: port,
        last_resort: last_resort.iter().map(|&word| word.to_owned()).collect(),
    }
}

fn look_up(resolver: &HostResolver, name: &str) -> Result<Vec<String>, LookupError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    resolver
        .addresses(name, IpFamily::Any, deadline)
        .map(|found| found.iter().map(ToString::to_string).collect())
}

#[test]
fn addresses_of_the_hosts_file_count_before_dns() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hosts"), "192.0.2.1 panda.test\n").unwrap();
    let resolver = resolver(folder.path(), server(|_, _| Reply::Silence), &["false"]);
    assert_eq!(look_up(&resolver, "PANDA.test").unwrap(), ["192.0.2.1"]);
}

#[test]
fn this_machine_and_plain_addresses_need_no_file_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let resolver = resolver(&folder.path().join("absent"), 1, &["false"]);
    assert_eq!(
        look_up(&resolver, "localhost").unwrap(),
        ["127.0.0.1", "::1"]
    );
    assert_eq!(look_up(&resolver, "192.0.2.9").unwrap(), ["192.0.2.9"]);
    assert_eq!(
        look_up(&resolver, "[2001:db8::1]").unwrap(),
        ["2001:db8::1"]
    );
}

#[test]
fn dns_is_asked_for_both_kinds_of_addresses_and_short_names_get_the_domain() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("resolv.conf"),
        "nameserver 127.0.0.1\nsearch jinr.ru\n",
    )
    .unwrap();
    let port = server(|name, record| match (name, record) {
        ("panda.jinr.ru", A) => Reply::Address(A, &[127, 0, 0, 5]),
        ("panda.jinr.ru", _) => {
            Reply::Address(AAAA, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
        }
        _ => Reply::Code(3),
    });
    let mut found = look_up(&resolver(folder.path(), port, &["false"]), "panda").unwrap();
    found.sort();
    assert_eq!(found, ["127.0.0.5", "::1"]);
}

#[test]
fn an_answer_too_long_for_a_datagram_is_fetched_by_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let port = server(|_, _| Reply::Truncated);
    let resolver = resolver(folder.path(), port, &["false"]);
    assert_eq!(look_up(&resolver, "panda.test").unwrap(), ["192.0.2.44"]);
}

#[test]
fn datagrams_that_answer_something_else_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let port = server(|_, _| Reply::LiesFirst(&[192, 0, 2, 7]));
    let resolver = resolver(folder.path(), port, &["false"]);
    assert_eq!(look_up(&resolver, "panda.test").unwrap(), ["192.0.2.7"]);
}

#[test]
fn a_server_that_fails_for_one_kind_of_address_hides_nothing_of_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let port = server(|_, record| match record {
        A => Reply::Address(A, &[192, 0, 2, 8]),
        _ => Reply::Code(2),
    });
    let resolver = resolver(folder.path(), port, &["false"]);
    assert_eq!(look_up(&resolver, "panda.test").unwrap(), ["192.0.2.8"]);
}

#[test]
fn a_name_that_does_not_exist_is_not_found_and_a_dead_server_is_told_by_address() {
    let folder = tempfile::tempdir().unwrap();
    let known = resolver(folder.path(), server(|_, _| Reply::NoData), &["false"]);
    assert_eq!(look_up(&known, "panda.test"), Err(LookupError::NotFound));
    fs::write(
        folder.path().join("resolv.conf"),
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    let port = server(|_, _| Reply::Silence);
    let dead = resolver(folder.path(), port, &["false"]);
    let error = look_up(&dead, "panda.test").unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[test]
fn what_dns_does_not_know_is_asked_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("getent");
    fs::write(
        &script,
        "#!/bin/sh\n[ \"$2\" = node7 ] && echo 10.0.0.7 STREAM node7\n",
    )
    .unwrap();
    let script = script.to_str().unwrap();
    let port = server(|_, _| Reply::Code(3));
    let resolver = resolver(folder.path(), port, &["sh", script, "ahosts"]);
    assert_eq!(look_up(&resolver, "node7").unwrap(), ["10.0.0.7"]);
    assert_eq!(look_up(&resolver, "node8"), Err(LookupError::NotFound));
}

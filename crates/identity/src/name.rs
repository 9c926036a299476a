//! Names of people and programs: the slash form of distinguished names, and PanDA's compact name.
//!
//! Pure. The compact name decides to whom tasks belong, so its rules are PanDA's to the letter.

use std::{fmt::Write as _, sync::LazyLock};

use regex::Regex;
use x509_parser::{der_parser::asn1_rs::Oid, x509::X509Name};

/// Names of attributes by object identifier, as `openssl` writes them.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// Writes a distinguished name in slash form, for example `/DC=org/DC=test/CN=Some User`.
///
/// Characters that are no text are written as `\xHH`, as `openssl` does.
#[must_use]
pub fn slash_form(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for attribute in name.iter_attributes() {
        text.push('/');
        text.push_str(&attribute_name(attribute.attr_type()));
        text.push('=');
        match attribute.as_str() {
            Ok(value) => value.chars().for_each(|c| push(&mut text, c)),
            Err(_) => attribute
                .as_slice()
                .iter()
                .for_each(|byte| push(&mut text, char::from(*byte))),
        }
    }
    text
}

fn attribute_name(oid: &Oid<'_>) -> String {
    let id = oid.to_id_string();
    let known = ATTRIBUTES.iter().find(|(known, _)| *known == id);
    known.map_or(id, |(_, name)| (*name).to_owned())
}

fn push(text: &mut String, c: char) {
    if c.is_control() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{:02X}", u32::from(c));
    } else {
        text.push(c);
    }
}

macro_rules! patterns {
    ($($name:ident = $pattern:literal;)*) => {
        $(static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("a constant regular expression"));)*
    };
}

patterns! {
    ORGANISATION = "/(DC|O|OU|C|L)=[^/]+";
    NUMBER_PART = "/CN=[0-9]+";
    NUMBER_AFTER_BLANK = " [0-9]+";
    NUMBER_AFTER_UNDERSCORE = "_[0-9]+";
    ROBOT = "/CN=Robot:[^/]+";
    NICKNAME = "/CN=nickname:[^/]+";
    TWO_NAMES = "^.*/CN=([^/]+)/CN=([^/]+)";
    E_MAIL_PART = "(?i)/email";
    LIMITED = "^.*(limited.*proxy).*";
    ADDRESS = r" [a-z][\w\.-]+@[\w\.-]+(?:\.\w+)+";
}

/// Returns PanDA's compact name of a distinguished name in slash form: the owner of tasks and jobs.
///
/// Source: panda-server, `pandaserver/srvcore/CoreUtils.py`, `clean_user_id`.
#[must_use]
pub fn compact(dn: &str) -> String {
    let mut name = ORGANISATION.replace_all(dn, "").into_owned();
    // One after the other, since each may lay the next one bare.
    for pattern in [&NUMBER_PART, &NUMBER_AFTER_BLANK, &NUMBER_AFTER_UNDERSCORE] {
        name = pattern.replace_all(&name, "").into_owned();
    }
    for part in ["/CN=proxy", "/CN=limited proxy", "limited proxy"] {
        name = name.replace(part, "");
    }
    for pattern in [&ROBOT, &NICKNAME] {
        name = pattern.replace_all(&name, "").into_owned();
    }
    let last = TWO_NAMES.captures(&name).map(|found| found[2].to_owned());
    name = last.unwrap_or_else(|| name.replace("/CN=", ""));
    if let Some(found) = E_MAIL_PART.find(&name)
        && found.start() > 0
    {
        name.truncate(found.start());
    }
    let limited = LIMITED.captures(&name).map(|found| found[1].to_owned());
    name = limited.unwrap_or(name);
    name.retain(|c| !matches!(c, '(' | ')' | '\''));
    let without_address = ADDRESS.replace_all(&name, "").trim().to_owned();
    if without_address.contains(' ') {
        without_address
    } else {
        name
    }
}

/// Returns a distinguished name without what proxies added at its end, by which credentials are
/// looked up.
///
/// Source: panda-server, `pandaserver/srvcore/CoreUtils.py`, `get_bare_dn` without digits.
#[must_use]
pub fn bare(dn: &str) -> String {
    let mut name = dn.replace("/CN=limited proxy", "").replace("/CN=proxy", "");
    while let Some((before, last)) = name.rsplit_once("/CN=")
        && !last.is_empty()
        && last.bytes().all(|byte| byte.is_ascii_digit())
    {
        name.truncate(before.len());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and what PanDA's own function makes of them.
    const COMPACT: &[(&str, &str)] = &[
        ("/DC=org/DC=test/CN=Some User", "Some User"),
        ("/DC=org/DC=test/CN=Some User/CN=123456", "Some User"),
        ("/DC=org/DC=test/CN=Some User/CN=proxy", "Some User"),
        ("/DC=org/DC=test/CN=Some User/CN=limited proxy", "Some User"),
        (
            "/DC=ch/DC=cern/OU=Organic Units/OU=Users/CN=jdoe/CN=654321/CN=Jane Doe",
            "Jane Doe",
        ),
        (
            "/DC=ch/DC=cern/OU=Organic Units/OU=Users/CN=pilot/CN=1/CN=Robot: SPD Pilot",
            "pilot",
        ),
        (
            "/C=RU/O=RDIG/OU=users/OU=jinr.ru/CN=Ivan Petrov 42",
            "Ivan Petrov",
        ),
        ("/C=RU/O=RDIG/CN=ivan_petrov_2", "ivan_petrov"),
        ("Jane Doe/CN=nickname:jdoe", "Jane Doe"),
        ("robot production", "robot production"),
        ("/O=Grid/CN=Jane Doe/emailAddress=jane@test.org", "Jane Doe"),
        ("/O=Grid/CN=Jane Doe/Email=jane@test.org", "Jane Doe"),
        ("/O=Grid/CN=Jane (SPD) O'Neill", "Jane SPD ONeill"),
        ("/O=Grid/CN=Jane Doe jane.doe@test.org", "Jane Doe"),
        ("/O=Grid/CN=jane jane@test.org", "jane jane@test.org"),
        (
            "/O=Grid/CN=Jane Doe/CN=limited fancy proxy",
            "limited fancy proxy",
        ),
        ("", ""),
    ];

    #[test]
    fn compact_names_are_those_of_panda() {
        for (dn, expected) in COMPACT {
            assert_eq!(compact(dn), *expected, "{dn}");
        }
    }

    #[test]
    fn bare_names_end_before_what_proxies_added() {
        for (dn, expected) in [
            ("/CN=A/CN=1/CN=2", "/CN=A"),
            ("/CN=A/CN=proxy/CN=proxy", "/CN=A"),
            ("/CN=A/CN=limited proxy", "/CN=A"),
            ("/CN=A/CN=1/CN=B", "/CN=A/CN=1/CN=B"),
            ("/CN=A1", "/CN=A1"),
            ("pilot_server", "pilot_server"),
        ] {
            assert_eq!(bare(dn), expected, "{dn}");
        }
    }
}

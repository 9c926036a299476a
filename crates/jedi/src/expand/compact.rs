//! The short form of several file names: `file.[1,2,4].pool`.

/// Writes names in the short form, if they differ only by a number; else joined by commas.
pub(super) fn names(names: &[&str]) -> String {
    let full = || names.join(",");
    let short: Vec<&str> = names.iter().map(|name| without_attempt(name)).collect();
    let [first, second, ..] = short[..] else {
        return full();
    };
    let head = common_head(first, second);
    let tail = common_tail(first, second);
    let head = head.trim_end_matches(|c: char| c.is_ascii_digit());
    let tail = tail.trim_start_matches(|c: char| c.is_ascii_digit());
    let middles: Vec<&str> = short
        .iter()
        .map(|name| {
            let rest = name.strip_prefix(head).unwrap_or(name);
            rest.strip_suffix(tail).unwrap_or(rest)
        })
        .collect();
    let joined = middles.join(",");
    let is_numbers = joined
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b',');
    if is_numbers && !joined.is_empty() && !head.contains(['[', ']']) {
        format!("{head}[{joined}]{tail}")
    } else {
        full()
    }
}

/// Removes the number of an attempt from the end of a name.
fn without_attempt(name: &str) -> &str {
    let rest = name.trim_end_matches(|c: char| c.is_ascii_digit());
    match rest.strip_suffix('.') {
        Some(stem) if rest.len() < name.len() => stem,
        Some(_) | None => name,
    }
}

fn common_head<'a>(first: &'a str, second: &str) -> &'a str {
    let same = first
        .chars()
        .zip(second.chars())
        .take_while(|(one, other)| one == other);
    let length: usize = same.map(|(one, _)| one.len_utf8()).sum();
    &first[..length]
}

fn common_tail<'a>(first: &'a str, second: &str) -> &'a str {
    let same = first
        .chars()
        .rev()
        .zip(second.chars().rev())
        .take_while(|(one, other)| one == other);
    let length: usize = same.map(|(one, _)| one.len_utf8()).sum();
    &first[first.len() - length..]
}

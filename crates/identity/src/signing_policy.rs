//! Signing policies of grid authorities: which names an authority may certify.
//!
//! Pure. The file `HASH.signing_policy` beside `HASH.0` has entries of three lines; of these, only
//! the condition on names is read. Source: Globus, `CA signing policy files` (EACL).

/// The names that authorities may certify.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SigningPolicy {
    /// Name of an authority in slash form, and patterns of names with `*` for anything.
    entries: Vec<(String, Vec<String>)>,
}

impl SigningPolicy {
    /// Reads a file; lines that mean nothing are skipped.
    pub(crate) fn parse(text: &str) -> Self {
        let mut policy = Self::default();
        for line in text.lines() {
            let line = line.trim();
            if let Some(rest) = line.strip_prefix("access_id_CA") {
                if let Some(name) = quoted(rest, '\'').into_iter().next() {
                    policy.entries.push((name.to_owned(), Vec::new()));
                }
            } else if let Some(rest) = line.strip_prefix("cond_subjects")
                && let Some((_, patterns)) = policy.entries.last_mut()
            {
                let all = quoted(rest, '\'').into_iter().next().unwrap_or(rest);
                let names = quoted(all, '"').into_iter().map(str::to_owned);
                patterns.extend(names);
            }
        }
        policy
    }

    /// Says whether an authority may certify a name; none if the file does not speak of it.
    pub(crate) fn allows(&self, authority: &str, subject: &str) -> Option<bool> {
        let mut spoken = None;
        for (name, patterns) in &self.entries {
            if name == authority {
                let fits = patterns.iter().any(|pattern| fits(pattern, subject));
                spoken = Some(spoken.unwrap_or(false) || fits);
            }
        }
        spoken
    }
}

/// Returns the texts between pairs of a quotation mark.
fn quoted(text: &str, mark: char) -> Vec<&str> {
    text.split(mark).skip(1).step_by(2).collect()
}

/// Says whether a text is the pattern's, where `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_certifies_the_names_of_its_policy_only() {
        let policy = SigningPolicy::parse(
            "# comment\naccess_id_CA   X509    '/DC=org/CN=CA'\npos_rights globus CA:sign\n\
             cond_subjects  globus  '\"/DC=org/DC=a/*\" \"/C=RU/O=RDIG/*/CN=*\"'\n",
        );
        let allows = |subject| policy.allows("/DC=org/CN=CA", subject);
        assert_eq!(allows("/DC=org/DC=a/CN=x"), Some(true));
        assert_eq!(allows("/C=RU/O=RDIG/OU=u/CN=x"), Some(true));
        assert_eq!(allows("/DC=org/DC=b/CN=x"), Some(false));
        assert_eq!(policy.allows("/CN=other", "/DC=org/DC=a/CN=x"), None);
    }

    #[test]
    fn a_pattern_without_a_star_is_one_name() {
        assert!(fits("/CN=a", "/CN=a"));
        assert!(!fits("/CN=a", "/CN=ab"));
        assert!(fits("*", ""));
        assert!(!fits("/A/*/B", "/A/B"));
    }
}

//! What the claims of a token make of its bearer.
//!
//! Pure. Source: panda-server, `pandaserver/srvcore/panda_request.py`, `decode_token`, and
//! `oidc_utils.py`, `deserialize_token`.

use serde_json::{Map, Value};

use crate::token::{AuthConfig, AuthFile, TokenRefusal, split_origin};

/// Who bears a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIdentity {
    /// Name in slash form, for example `Jane Doe/CN=nickname:jdoe`.
    pub dn: String,
    /// Roles, written as VOMS attributes: `/spd/Role=production`.
    pub fqans: Vec<String>,
    /// When the token ends, in seconds since 1970.
    pub ends: i64,
}

/// Finds the configured client that a token is for: by audience, by the claim `client_id`, or, for
/// programs, by subject.
pub(super) fn client_id<'a>(
    config: &AuthConfig,
    claims: &'a Map<String, Value>,
) -> Result<&'a str, TokenRefusal> {
    let of_audience = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        Some(_) | None => Vec::new(),
    };
    let by_claim = ["client_id", "azp", "sub"].map(|claim| text(claims, claim));
    of_audience
        .into_iter()
        .chain(by_claim.into_iter().flatten())
        .find(|id| config.client(id).is_some())
        .ok_or(TokenRefusal::UnknownClient)
}

/// Judges the claims of a token whose signature, issuer, audience and times are right.
///
/// # Errors
///
/// [`TokenRefusal`] if the VO is not known, or the bearer is not in its group.
pub fn judge_claims(
    config: &AuthConfig,
    client_id: &str,
    claims: &Map<String, Value>,
    origin: Option<&str>,
) -> Result<TokenIdentity, TokenRefusal> {
    let of_client = config.client(client_id).and_then(|file| file.vo.as_deref());
    let (vo, asked_role) = split_origin(origin.or(of_client).unwrap_or_default());
    if !config.knows(vo) {
        return Err(TokenRefusal::UnknownVo { vo: vo.to_owned() });
    }
    let file = config.file_of(vo, asked_role);
    let groups = groups_of(claims, file);
    let is_robot = file.is_some_and(|file| file.robot_ids.iter().any(|id| id == client_id));
    let is_in = |group: &str| match &groups {
        Some(groups) => groups
            .iter()
            .any(|name| name.strip_prefix('/').unwrap_or(name) == group),
        // A robot's tokens know no groups.
        None => is_robot,
    };
    let role = match asked_role {
        Some(role) => Some(role),
        None => auto_role(file, vo, groups.is_some(), &is_in),
    };
    let group = match role {
        Some(role) => format!("{vo}/{role}"),
        None => vo.to_owned(),
    };
    if !is_in(&group) {
        return Err(TokenRefusal::NotAMember { group });
    }
    let name = name_of(claims, is_robot, role);
    let ends = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0);
    Ok(TokenIdentity {
        dn: name,
        fqans: role
            .map(|role| format!("/{vo}/Role={role}"))
            .into_iter()
            .collect(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast of floats saturates"
        )]
        ends: ends as i64,
    })
}

fn auto_role<'a>(
    file: Option<&'a AuthFile>,
    vo: &str,
    has_groups: bool,
    is_in: &impl Fn(&str) -> bool,
) -> Option<&'a str> {
    let roles = file.filter(|_| has_groups)?.auto_roles.iter();
    roles
        .map(String::as_str)
        .find(|role| is_in(&format!("{vo}/{role}")))
}

/// Returns the groups of the claim; none if there is no such claim.
fn groups_of<'a>(claims: &'a Map<String, Value>, file: Option<&AuthFile>) -> Option<Vec<&'a str>> {
    let claim = file.map_or("groups", |file| file.groups_claim);
    let groups = claims.get(claim)?.as_array()?;
    Some(groups.iter().filter_map(Value::as_str).collect())
}

/// Returns the name in slash form. Nobody may write a further part of it into a claim.
fn name_of(claims: &Map<String, Value>, is_robot: bool, role: Option<&str>) -> String {
    let robot = is_robot.then(|| format!("robot {}", role.unwrap_or("None")));
    let name = text(claims, "name").map(str::to_owned).or(robot);
    let Some(name) = name else {
        return one_part(text(claims, "sub").unwrap_or_default());
    };
    let words: Vec<String> = name.split_whitespace().map(capitalised).collect();
    let mut dn = one_part(&words.join(" "));
    if let Some(nickname) = text(claims, "preferred_username") {
        dn += "/CN=nickname:";
        dn += &one_part(nickname);
    }
    dn
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.flat_map(char::to_lowercase)).collect()
}

fn one_part(text: &str) -> String {
    let replaced = |c: char| if c == '/' || c.is_control() { '_' } else { c };
    text.chars().map(replaced).collect()
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> AuthConfig {
        let folder = tempfile::tempdir().unwrap();
        let file = |client: &str, more: Value| {
            let mut file = json!({
                "client_id": client, "oidc_config_url": "https://i/x", "vo": "spd",
                "robot_ids": ["robot"], "secondary_ids": ["robot"],
            });
            for (key, value) in more.as_object().unwrap() {
                file[key] = value.clone();
            }
            file.to_string()
        };
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        write(
            "spd_auth_config.json",
            file("client", json!({"auto_roles": ["shift"]})),
        );
        write("spd.production_auth_config.json", file("client", json!({})));
        AuthConfig::load(folder.path()).unwrap()
    }

    fn judge(client: &str, claims: Value, origin: Option<&str>) -> Result<TokenIdentity, String> {
        let claims = claims.as_object().unwrap().clone();
        judge_claims(&config(), client, &claims, origin).map_err(|refusal| refusal.to_string())
    }

    fn jane(groups: &[&str]) -> Value {
        json!({"name": "jane DOE", "preferred_username": "jdoe", "sub": "17", "exp": 2000,
            "groups": groups})
    }

    #[test]
    fn a_member_gets_the_name_of_the_claims_and_the_role_that_was_asked_for() {
        let found = judge("client", jane(&["/spd", "spd/production"]), Some("spd")).unwrap();
        assert_eq!(found.dn, "Jane Doe/CN=nickname:jdoe");
        assert_eq!(found.fqans, Vec::<String>::new());
        assert_eq!(found.ends, 2000);
        for origin in ["spd.production", "spd:production"] {
            let found = judge("client", jane(&["/spd/production"]), Some(origin)).unwrap();
            assert_eq!(found.fqans, ["/spd/Role=production"]);
        }
        let of_file = judge("client", jane(&["spd"]), None).unwrap();
        assert_eq!(of_file.dn, "Jane Doe/CN=nickname:jdoe");
    }

    #[test]
    fn a_role_may_come_by_itself() {
        let found = judge("client", jane(&["spd", "/spd/shift"]), Some("spd")).unwrap();
        assert_eq!(found.fqans, ["/spd/Role=shift"]);
    }

    #[test]
    fn who_is_not_in_the_group_is_refused() {
        for (claims, origin, expected) in [
            (jane(&["mpd"]), "spd", "Not a member of the spd group"),
            (
                jane(&["spd"]),
                "spd.production",
                "Not a member of the spd/production group",
            ),
            (jane(&["spd"]), "mpd", "Unknown vo : mpd"),
            (json!({"name": "J"}), "spd", "Not a member of the spd group"),
            (
                jane(&["spdx", "x/spd"]),
                "spd",
                "Not a member of the spd group",
            ),
            (jane(&["spd"]), "", "Unknown vo : "),
        ] {
            assert_eq!(judge("client", claims, Some(origin)).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_robot_without_groups_is_a_member_but_not_one_with_others() {
        let claims = json!({"sub": "robot", "exp": 10});
        let found = judge("robot", claims.clone(), Some("spd.production")).unwrap();
        assert_eq!(found.dn, "Robot Production");
        assert_eq!(found.fqans, ["/spd/Role=production"]);
        assert!(judge("client", claims, Some("spd")).is_err());
        let other = json!({"sub": "robot", "groups": ["mpd"]});
        assert!(judge("robot", other, Some("spd")).is_err());
    }

    #[test]
    fn nobody_writes_a_part_of_a_name_into_a_claim() {
        let claims = json!({"name": "x/CN=admin", "preferred_username": "y/CN=boss\n",
            "groups": ["spd"]});
        let found = judge("client", claims, Some("spd")).unwrap();
        assert_eq!(found.dn, "X_cn=admin/CN=nickname:y_CN=boss_");
        let nameless = json!({"sub": "a/b", "groups": ["spd"]});
        assert_eq!(judge("client", nameless, Some("spd")).unwrap().dn, "a_b");
    }
}

//! JupyterHub's scopes that no token has here, each with the reason: whoever follows its documentation must not look for a
//! slip of the pen.

/// Why a scope of this name is refused, if JupyterHub has one.
pub(super) fn why(name: &str) -> Option<(&'static str, &'static str)> {
    ABSENT.iter().copied().find(|(absent, _)| *absent == name)
}

const ABSENT: [(&str, &str); 10] = [
    ("(no_scope)", "every token tells whose it is, without any scope for it"),
    ("inherit", "only a token that makes another by the REST API hands on what it has; say each scope here"),
    ("admin-ui", "no program opens the administration page, which is for people"),
    ("admin:auth_state", "no program reads what the login service said of a user"),
    ("admin:server_state", "how servers are is for the container runtime to say, and for nobody to write"),
    (
        "admin:services",
        "there are no services to make or end: what is beside the hub is in its configuration",
    ),
    ("read:services:name", "there are no services here, so nobody has to see only what they are called"),
    ("read:roles:groups", "groups have no roles here: what they grant is for the rules of the configuration"),
    ("read:roles:services", "there are no services here that could have roles"),
    ("read:metrics", "metrics are served at an address of their own, which takes no token"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Scope;

    #[test]
    fn what_is_called_absent_is_no_scope_here() {
        for (name, why_not) in ABSENT {
            assert_eq!(Scope::named(name), None, "{name}");
            assert_eq!(why(name), Some((name, why_not)));
        }
        assert_eq!(why("servers"), None);
    }
}

//! Names of users and servers where only a few characters may stand: in names of containers, volumes and folders.

use std::fmt::Write;

use crate::config::Escape;
use crate::server_name::ServerName;
use crate::user::UserName;

use super::WorkspaceId;

/// A user's name in names of volumes and folders, exactly as DockerSpawner writes it: who comes from there finds the
/// same homes.
pub fn escape(name: &UserName, how: Escape) -> String {
    escape_text(name.as_str(), how)
}

/// A server's name in names of volumes and folders, written the same way.
pub fn escape_server(name: &ServerName, how: Escape) -> String {
    escape_text(name.as_str(), how)
}

/// `<prefix>-<escaped user>`, and `--<escaped server>` for a named server.
///
/// Two workspaces may share a name under [`Escape::Legacy`], which keeps `-`; their labels tell them apart.
pub fn container_name(prefix: &str, id: &WorkspaceId, how: Escape) -> String {
    let user = escape(&id.user, how);
    if id.server.is_default() {
        format!("{prefix}-{user}")
    } else {
        format!("{prefix}-{user}--{}", escape_text(id.server.as_str(), how))
    }
}

fn escape_text(text: &str, how: Escape) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let character = char::from(byte);
        let written = match how {
            Escape::Current if character.is_ascii_digit() || character.is_ascii_lowercase() => {
                escaped.write_char(character)
            }
            Escape::Legacy if character.is_ascii_alphanumeric() || character == '-' => {
                escaped.write_char(character)
            }
            Escape::Current => write!(escaped, "-{byte:02x}"),
            Escape::Legacy => write!(escaped, "_{byte:02X}"),
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_dockerspawner_writes_them() {
        for (name, legacy, current) in [
            ("alice", "alice", "alice"),
            ("anna.b", "anna_2Eb", "anna-2eb"),
            ("anna-b", "anna-b", "anna-2db"),
            ("anna_b", "anna_5Fb", "anna-5fb"),
            ("anna@epfl.ch", "anna_40epfl_2Ech", "anna-40epfl-2ech"),
            ("jan.müller", "jan_2Em_C3_BCller", "jan-2em-c3-bcller"),
            ("0000-0002-1825-0097", "0000-0002-1825-0097", "0000-2d0002-2d1825-2d0097"),
        ] {
            let name = UserName::parse(name).unwrap();
            assert_eq!(escape(&name, Escape::Legacy), legacy);
            assert_eq!(escape(&name, Escape::Current), current);
        }
    }

    #[test]
    fn a_named_server_has_a_container_of_its_own() {
        let id = |user: &str, server: &str| WorkspaceId {
            user: UserName::parse(user).unwrap(),
            server: ServerName::parse(server).unwrap(),
        };
        let name = |user, server| container_name("hubgate", &id(user, server), Escape::Current);
        assert_eq!(name("anna@epfl.ch", ""), "hubgate-anna-40epfl-2ech");
        assert_eq!(name("anna", "gpu-1"), "hubgate-anna--gpu-2d1");
        assert_ne!(name("anna--gpu", ""), name("anna", "gpu"));
    }
}

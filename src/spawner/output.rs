//! The last lines a workspace wrote: few, short and without its secrets, for the administrator's log.

use std::collections::VecDeque;

/// How many lines are kept.
pub(super) const LINES: usize = 50;
/// How many bytes are kept.
pub(super) const BYTES: usize = 8 * 1024;

/// The end of a stream of text, whatever its length.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    /// Takes what came next and forgets what is too old.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let surplus = self.0.len().saturating_sub(BYTES);
        self.0.drain(..surplus);
    }

    /// The last lines; of each variable in `environment` (`NAME=value`) that holds a secret, the value is left out:
    /// Jupyter prints its own token in a URL.
    pub(super) fn text<'a>(&self, environment: impl IntoIterator<Item = &'a str>) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = hide_secrets(&String::from_utf8_lossy(&bytes), environment);
        let lines: Vec<&str> = text.lines().collect();
        let kept = lines.iter().skip(lines.len().saturating_sub(LINES));
        let lines: Vec<String> = kept.map(|line| printable(line)).collect();
        lines.join("\n")
    }
}

/// A line without what a terminal would obey.
pub(super) fn printable(line: &str) -> String {
    line.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// `text` with `[secret]` in place of every secret that `environment` holds.
pub(super) fn hide_secrets<'a>(text: &str, environment: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = text.to_owned();
    for variable in environment {
        let Some((name, value)) = variable.split_once('=') else { continue };
        let name = name.to_ascii_uppercase();
        // The name of a file is no secret, and an error that tells of it is worth reading.
        let secret = !name.ends_with("_FILE")
            && ["TOKEN", "SECRET", "PASSWORD", "KEY"].iter().any(|word| name.contains(word));
        // A shorter value is no secret, and would be found in ordinary words.
        if secret && value.len() >= 8 {
            text = text.replace(value, "[secret]");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for line in 0..10_000 {
            tail.push(format!("line {line}\n").as_bytes());
        }
        let text = tail.text([]);
        assert_eq!(text.lines().count(), LINES);
        assert!(text.starts_with("line 9950\n") && text.ends_with("line 9999"), "{text}");
        tail.push(&vec![b'x'; 3 * BYTES]);
        assert_eq!(tail.text([]).len(), BYTES);
    }

    #[test]
    fn a_secret_of_the_environment_is_not_shown() {
        let mut tail = Tail::default();
        tail.push(b"http://0.0.0.0:8888/lab?token=4f1c2d3e4a5b\n\x1b[31mHOME=/home/jovyan\x1b[0m\n");
        let text = tail.text(["JUPYTER_TOKEN=4f1c2d3e4a5b", "HOME=/home/jovyan", "API_KEY="]);
        assert_eq!(text, "http://0.0.0.0:8888/lab?token=[secret]\n[31mHOME=/home/jovyan[0m");
        tail.push(b"cat: /run/hubgate/access_token: Permission denied\n");
        let text = tail.text(["HUBGATE_ACCESS_TOKEN_FILE=/run/hubgate/access_token"]);
        assert!(text.ends_with("cat: /run/hubgate/access_token: Permission denied"), "{text}");
    }
}

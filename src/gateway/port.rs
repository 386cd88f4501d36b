//! Ports of a workspace beside that of its server: `<workspace>/proxy/<port>/…`, as jupyter-server-proxy has them.

/// A path that leads to a port of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortPath {
    pub(super) port: u16,
    /// What the program behind it does not see of the path, without the slash at its end; `None`: it sees all
    /// (`…/proxy/absolute/<port>/`).
    pub(super) prefix: Option<String>,
    /// It lacks the slash behind the port.
    pub(super) bare: bool,
}

impl PortPath {
    /// Reads a request's path, given what of it follows the workspace's own address.
    pub(super) fn find(path: &str, below: &str) -> Option<Self> {
        let rest = below.strip_prefix("proxy/")?;
        let (rest, absolute) = rest.strip_prefix("absolute/").map_or((rest, false), |rest| (rest, true));
        let (digits, beyond) =
            rest.split_once('/').map_or((rest, None), |(digits, beyond)| (digits, Some(beyond)));
        // One spelling a port: what is written otherwise is a path of the server itself.
        let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.parse().ok().filter(|_| plain)?;
        let prefix = path.len().checked_sub(beyond.map_or(0, |beyond| beyond.len() + 1))?;
        let prefix = (!absolute).then(|| path.get(..prefix).map(str::to_owned));
        Some(Self { port, prefix: prefix.unwrap_or_default(), bare: beyond.is_none() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(below: &str) -> Option<(u16, Option<String>, bool)> {
        let found = PortPath::find(&format!("/user/anna@epfl.ch/{below}"), below);
        found.map(|found| (found.port, found.prefix, found.bare))
    }

    #[test]
    fn a_port_is_read_in_one_way() {
        let prefix = |port: &str| Some(format!("/user/anna@epfl.ch/proxy/{port}"));
        assert_eq!(find("proxy/8050/a/b%2F"), Some((8050, prefix("8050"), false)));
        assert_eq!(find("proxy/8050/"), Some((8050, prefix("8050"), false)));
        assert_eq!(find("proxy/8050"), Some((8050, prefix("8050"), true)));
        assert_eq!(find("proxy/absolute/1/x"), Some((1, None, false)));
        for other in [
            "proxy/",
            "proxy/0/",
            "proxy/08050/",
            "proxy/+1/",
            "proxy/65536/",
            "proxy/80%350/",
            "proxy/host:80/",
            "proxy/8050x/",
            "PROXY/8050/",
            "lab/proxy/8050/",
            "",
        ] {
            assert_eq!(find(other), None, "{other}");
        }
    }
}

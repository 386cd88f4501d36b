//! Which route a path belongs to. Pure, and the one place that reads paths.
//!
//! What is judged here is forwarded byte for byte, so a path that some reader could take for another user's is
//! refused: whether it decodes once more, merges slashes, takes a backslash for a slash, cuts a segment at `;`, or
//! looks away from case.

mod api;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

use crate::user::UserName;

pub use self::api::{ADDRESSES, ApiPath, Resource};

/// What answers a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// hubgate itself.
    Own(Endpoint<'a>),
    /// A user's workspace; the name is in its normal form.
    Workspace {
        /// Whose.
        owner: Cow<'a, str>,
        /// The path ends with the name: browsers must be sent on to the same with a slash.
        bare: bool,
        /// What follows the name and its slash, as it stands.
        below: &'a str,
    },
    /// Nothing.
    Unknown,
}

/// What hubgate answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// `/`: to the workspace, or home.
    Root,
    /// Begins a login.
    Login,
    /// A browser comes from a user's own host to be told there who it is.
    Enter,
    /// There: it is back.
    Entered,
    /// The provider sends browsers back here; where several share a host, each has a path of its own, with its name.
    Callback(&'a str),
    /// Asks, then ends the session.
    Logout,
    /// The provider itself says that sessions are over.
    BackchannelLogout,
    /// A frame in a page of the provider says so.
    FrontchannelLogout,
    /// The user's own page.
    Home,
    /// Chooses a profile and starts it; the rest of the path names a user, and perhaps one of their servers.
    Spawn(&'a str),
    /// Old bookmarks: `/hub/user/<name>/…`.
    HubUser(&'a str),
    /// Links for whoever is signed in: `/hub/user-redirect/<path>`.
    UserRedirect(&'a str),
    /// The picture that images show.
    Logo,
    /// `/hub/api`: says that a hub is here.
    ApiRoot,
    /// A container sends a browser here to learn who it is.
    ApiAuthorize,
    /// The user's API tokens.
    Tokens,
    /// With whom the user shares their workspaces.
    Share,
    /// A link that shares one asks whether it is wanted.
    AcceptShare,
    /// Confirms a program that has no browser.
    Device,
    /// A container redeems a code; a program without a browser asks for its token.
    ApiToken,
    /// A program without a browser asks to be let in.
    ApiDevice,
    /// All else of the REST API.
    Api(ApiPath<'a>),
    /// Whether it answers.
    Health,
    /// For administrators: who is signed in, what runs.
    Admin,
    /// Browsers report what a policy stopped.
    CspReport,
}

/// A path that can be read in more than one way, or in none.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the path is ambiguous")]
pub struct BadPath;

impl<'a> Route<'a> {
    /// The route of a request's path, as it stands in the request line, without its query.
    pub fn find(path: &'a str) -> Result<Self, BadPath> {
        let route = Self::literal(path)?;
        if !is_simple(path) {
            prove(path, &route)?;
        }
        Ok(route)
    }

    /// What follows a workspace's owner in the path.
    pub fn below(&self) -> &'a str {
        match self {
            Self::Workspace { below, .. } => below,
            Self::Own(_) | Self::Unknown => "",
        }
    }

    /// A closed set of names for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Workspace { .. } => "workspace",
            Self::Unknown => "unknown",
            Self::Own(endpoint) => endpoint.label(),
        }
    }

    fn literal(path: &'a str) -> Result<Self, BadPath> {
        if let Some(rest) = path.strip_prefix("/user/") {
            let (segment, below) =
                rest.split_once('/').map_or((rest, None), |(name, rest)| (name, Some(rest)));
            return Ok(Self::Workspace {
                owner: owner(segment)?,
                bare: below.is_none(),
                below: below.unwrap_or_default(),
            });
        }
        if path == "/" {
            return Ok(Self::Own(Endpoint::Root));
        }
        let Some(rest) = path.strip_prefix("/hub/") else {
            return Ok(if path == "/hub" { Self::Own(Endpoint::Home) } else { Self::Unknown });
        };
        Ok(Endpoint::find(rest).map_or(Self::Unknown, Self::Own))
    }
}

impl<'a> Endpoint<'a> {
    fn find(path: &'a str) -> Option<Self> {
        Some(match path {
            "" | "home" => Self::Home,
            "login" | "oauth_login" => Self::Login,
            "enter" => Self::Enter,
            "entered" => Self::Entered,
            "oauth_callback" => Self::Callback(""),
            "logout" => Self::Logout,
            "backchannel-logout" => Self::BackchannelLogout,
            "frontchannel-logout" => Self::FrontchannelLogout,
            "spawn" => Self::Spawn(""),
            "logo" => Self::Logo,
            "api/" => Self::ApiRoot,
            "token" => Self::Tokens,
            "share" => Self::Share,
            // JupyterHub's documentation writes it both ways.
            "accept-share" | "accept-share/" => Self::AcceptShare,
            "admin" => Self::Admin,
            "device" => Self::Device,
            "health" => Self::Health,
            "security/csp-report" => Self::CspReport,
            _ => return Self::find_below(path),
        })
    }

    fn find_below(path: &'a str) -> Option<Self> {
        let below = |prefix: &str| path.strip_prefix(prefix);
        if let Some(rest) = below("spawn/").or_else(|| below("spawn-pending/")) {
            return Some(Self::Spawn(rest));
        }
        if let Some(name) = below("oauth_callback/") {
            return Some(Self::Callback(name));
        }
        if let Some(rest) = below("user-redirect/") {
            return Some(Self::UserRedirect(rest));
        }
        if let Some(rest) = below("user/") {
            return Some(Self::HubUser(rest));
        }
        ApiPath::find(below("api")?).map(Self::of_api)
    }

    fn of_api(path: ApiPath<'a>) -> Self {
        match path {
            ApiPath { resource: Resource::Root, .. } => Self::ApiRoot,
            ApiPath { resource: Resource::Authorize, .. } => Self::ApiAuthorize,
            ApiPath { resource: Resource::OauthToken, .. } => Self::ApiToken,
            ApiPath { resource: Resource::DeviceAuthorization, .. } => Self::ApiDevice,
            path => Self::Api(path),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Login => "login",
            Self::Enter | Self::Entered => "enter",
            Self::Callback(_) => "callback",
            Self::Logout => "logout",
            Self::BackchannelLogout | Self::FrontchannelLogout => "provider-logout",
            Self::Home => "home",
            Self::Spawn(_) => "spawn",
            Self::HubUser(_) | Self::UserRedirect(_) => "redirect",
            Self::Logo => "logo",
            Self::Tokens => "tokens",
            Self::Share | Self::AcceptShare => "share",
            Self::Device => "device",
            Self::Admin => "admin",
            Self::ApiRoot | Self::ApiAuthorize | Self::ApiToken | Self::ApiDevice | Self::Api(_) => "api",
            Self::Health => "health",
            Self::CspReport => "csp-report",
        }
    }
}

/// Whether what follows a Jupyter server's own address only shows what is there, asked for by GET: its pages and their parts,
/// files, and lists of what runs. Elsewhere a GET may do something: extensions pull repositories with it, and proxies
/// start programs.
pub fn only_shows(below: &str) -> bool {
    // A server that merges slashes sees another path than the one that is judged here.
    if below.starts_with('/') || below.contains("//") {
        return false;
    }
    let mut segments = below.split('/');
    let first = segments.next().unwrap_or_default();
    match first {
        "api" => {
            let second = segments.next().unwrap_or_default();
            let kinds =
                ["", "contents", "kernels", "kernelspecs", "sessions", "terminals", "status", "me", "config"];
            kinds.contains(&second)
        }
        "" | "lab" | "tree" | "notebooks" | "edit" | "view" | "files" | "static" | "custom"
        | "nbextensions" | "kernelspecs" | "favicon.ico" | "oauth_callback" => true,
        _ => false,
    }
}

fn owner(segment: &str) -> Result<Cow<'_, str>, BadPath> {
    if UserName::is_plain(segment) {
        return Ok(Cow::Borrowed(segment));
    }
    let name = UserName::from_path_segment(segment).map_err(|_not_a_name| BadPath)?;
    Ok(Cow::Owned(name.as_str().to_owned()))
}

/// Nothing in it that any reader treats in a way of its own.
fn is_simple(path: &str) -> bool {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'Z' | b'-' | b'_' | b'~' | b'/' | b'.' | b'@' | b'+' | b',' | b'=' | b':');
    // A capital in the first segment could be read as `/user/`.
    let first = path.get(1..).and_then(|rest| rest.split('/').next()).unwrap_or("");
    let folds = first.bytes().any(|b| b.is_ascii_uppercase());
    let pairs = path.as_bytes().windows(2);
    let special = |pair: &[u8]| pair == b"//" || pair == b"/.";
    path.starts_with('/') && !folds && path.bytes().all(plain) && !pairs.into_iter().any(special)
}

/// Every reading of `path` names the route's owner, or none does; no reading climbs out of a folder.
fn prove(path: &str, route: &Route<'_>) -> Result<(), BadPath> {
    // Nothing of the first stands in a path (RFC 3986 section 3.3).
    let foreign = !path.is_ascii() || path.contains(|c: char| c == '\\' || c.is_control());
    if foreign || !path.starts_with('/') || !escapes_are_whole(path) {
        return Err(BadPath);
    }
    prove_readings(path, route, |reading| reading)?;
    // A character that a reader takes out may hold two halves of an escape apart.
    prove_readings(path, route, |mut reading| {
        reading.retain(|c| !c.is_control());
        reading
    })
}

/// Proves what is read of `path` when it is decoded again and again, and each time `rid` of something.
fn prove_readings(path: &str, route: &Route<'_>, rid: fn(String) -> String) -> Result<(), BadPath> {
    let mut reading = Cow::Borrowed(path);
    // Three decodings: a request that needs a fourth to become harmful meets nobody who decodes so often.
    for round in 0..4 {
        prove_reading(&reading, route, round == 0)?;
        let decoded = match percent_decode_str(&reading).decode_utf8() {
            Ok(decoded) => decoded.into_owned(),
            Err(_invalid) if round == 0 => return Err(BadPath),
            // A file may be called so. What else there is must still be harmless to whoever goes on.
            Err(_invalid) => percent_decode_str(&reading).decode_utf8_lossy().into_owned(),
        };
        let decoded = rid(decoded);
        if decoded == reading {
            break;
        }
        reading = Cow::Owned(decoded);
    }
    Ok(())
}

fn prove_reading(reading: &str, route: &Route<'_>, literal: bool) -> Result<(), BadPath> {
    if reading.contains('\0') {
        return Err(BadPath);
    }
    // Readers of URLs take control characters out wherever they stand (WHATWG URL, section 4.4).
    let folded = fold(reading);
    prove_segments(folded.split(['/', '\\']), route, literal)?;
    // To others a backslash is a character like any other.
    if folded.contains('\\') {
        prove_segments(folded.split('/'), route, literal)?;
    }
    if reading.is_ascii() {
        return Ok(());
    }
    // And some part a path, and cut its segments, before they fold what is left.
    let ways: [&[char]; 2] = [&['/', '\\'], &['/']];
    for separators in ways {
        let segments: Vec<String> = reading.split(separators).map(|segment| fold(cut(segment))).collect();
        prove_segments(segments.iter().map(String::as_str), route, literal)?;
    }
    Ok(())
}

/// Case and compatibility forms are one.
fn fold(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).filter(|c| !c.is_control()).collect()
}

/// A query or a fragment begins where a reader decodes first and parses then.
fn cut(segment: &str) -> &str {
    segment.split([';', '?', '#']).next().unwrap_or_default()
}

fn prove_segments<'s>(
    segments: impl Iterator<Item = &'s str>,
    route: &Route<'_>,
    literal: bool,
) -> Result<(), BadPath> {
    let mut named = [None, None];
    let mut count = 0;
    for segment in segments {
        let name = cut(segment).trim();
        if name == "." || name == ".." {
            return Err(BadPath);
        }
        if !name.is_empty() {
            if let Some(slot) = named.get_mut(count) {
                *slot = Some(name);
            }
            count += 1;
        }
    }
    let [first, second] = named;
    let reads_as_user = first == Some("user");
    match route {
        Route::Workspace { owner, .. } if reads_as_user => {
            // The literal segment has been decoded to the owner already.
            if literal || second == Some(owner) { Ok(()) } else { Err(BadPath) }
        }
        Route::Workspace { .. } => Err(BadPath),
        Route::Own(_) | Route::Unknown if reads_as_user => Err(BadPath),
        Route::Own(_) | Route::Unknown => Ok(()),
    }
}

fn escapes_are_whole(path: &str) -> bool {
    let mut parts = path.split('%');
    parts.next();
    parts.all(|part| part.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of(path: &str) -> Option<String> {
        match Route::find(path) {
            Ok(Route::Workspace { owner, .. }) => Some(owner.into_owned()),
            Ok(Route::Own(_) | Route::Unknown) | Err(BadPath) => None,
        }
    }

    #[test]
    fn a_workspace_path_names_its_owner() {
        for (path, owner) in [
            ("/user/alice/", "alice"),
            ("/user/alice", "alice"),
            ("/user/alice/lab/tree/a%2Fb/100%25.txt", "alice"),
            ("/user/alice/lab/tree/100%2525.txt", "alice"),
            ("/user/alice/files/a%20b;c/%C3%BC.ipynb", "alice"),
            ("/user/alice//x", "alice"),
            ("/user/alice/.hidden/..x/a..b/...", "alice"),
            ("/user/a@b.c/", "a@b.c"),
            ("/user/a%40b.c/", "a@b.c"),
            ("/user/a%20b/x", "a b"),
            ("/user/%C3%BC/", "ü"),
            ("/user/alice/User/Bob", "alice"),
            ("/user/alice/files/caf%25E9.txt", "alice"),
            ("/user/alice/files/a%09b", "alice"),
        ] {
            assert_eq!(owner_of(path).as_deref(), Some(owner), "{path}");
        }
        assert!(matches!(Route::find("/user/alice"), Ok(Route::Workspace { bare: true, .. })));
        assert!(matches!(Route::find("/user/alice/"), Ok(Route::Workspace { bare: false, .. })));
    }

    #[test]
    fn whoever_may_look_sees_pages_and_files_and_nothing_that_does_something() {
        for path in [
            "",
            "lab",
            "lab/tree/a%20b.ipynb",
            "api/contents/a",
            "api/sessions",
            "files/x/y.png",
            "api",
            "static/x.js",
        ] {
            assert!(only_shows(path), "{path}");
        }
        for path in [
            "git-pull",
            "git-pull/api",
            "proxy/8050/",
            "rstudio/",
            "terminals/1",
            "Lab",
            "%6cab",
            "api/events/subscribe",
            "api/nbconvert",
            "nbconvert/html/a.ipynb",
            "hub",
            "logout",
            "login",
            "api%2Fcontents",
            "/git-pull",
            "/proxy/8050/x",
            "api//anything",
            "lab//x",
            "lab;x",
        ] {
            assert!(!only_shows(path), "{path}");
        }
    }

    #[test]
    fn a_path_that_somebody_could_read_as_another_users_is_refused() {
        for path in [
            "/user/alice/../bob/tree",
            "/user/alice/..%2fbob/",
            "/user/alice/%2e%2e/bob/",
            "/user/alice/%2e%2e%2fbob/",
            "/user/alice/%252e%252e%252fbob/",
            "/user/alice/%25252e%25252e%25252fbob/",
            "/user/alice/..;/bob/",
            "/user/alice/..%3b/bob/",
            "//%3bx%5cy/user/bob/",
            "/%3bx%EF%BC%8Fy/user/bob/",
            "/%3bx%EF%BC%BCy/user/bob/",
            "/user/alice/..%5cbob/",
            "/user/alice/..\\bob/",
            "//user/bob/",
            "/user//bob/",
            "/user/bob%00/",
            "/user/bo%00b/",
            "/user/alice/a%00b",
            "/user/bob%09",
            "/user/bob%20",
            "/user/bob%0a",
            "/user/bob%7f",
            "/%75ser/bob/",
            "/user/b%6fb/",
            "/./user/bob/",
            "/user/alice/%c0%ae%c0%ae/bob/",
            "/user/alice/%ff",
            "/user/alice/．．/bob",
            "/user/alice/%EF%BC%8E%EF%BC%8E/bob",
            "/user/alice/..%EF%BC%8Fbob",
            "/user/alice/.%09./bob/",
            "/user/alice/%25252%0ae%252e/bob/",
            "/%25252%0ae/user/bob/",
            "/%25252\ne/user/bob/",
            "/user/alice/..%3fx/",
            "/user/alice/..%23",
            "/user/alice/%25ff/%252e%252e/bob",
            "/%09user/bob/",
            "/us%0aer/bob/",
            "/%20user/bob/",
            "/hub/../user/bob/",
            "/hub/%2e%2e/user/bob/",
            "/hub%2f..%2fuser/bob",
            "/public/../user/bob/",
            "/user/alice%3f/",
            "/user/alice%23",
            "/user/alice%2f..%2fbob/",
            "/user/alice%2fbob/",
            "/user/alice/.. /bob".replace(' ', "%20").as_str(),
            "/USER/bob/",
            "/User/bob",
            "/user/BOB/",
            "/;/user/bob/",
            "/%2fuser/bob/",
            "/user%2fbob/",
            "/user;x/bob/",
            "/user/bob;x/",
            "/user/",
            "/user/..",
            "/user/%",
            "/%",
            "/%zz",
            "/%u002e",
            "*",
            "",
            "hub/login",
        ] {
            assert_eq!(Route::find(path), Err(BadPath), "{path}");
        }
    }

    fn api(resource: Resource, name: &str) -> Endpoint<'_> {
        Endpoint::Api(ApiPath { resource, name, item: "", part: "" })
    }

    #[test]
    fn our_own_paths_are_exact() {
        for (path, endpoint) in [
            ("/", Endpoint::Root),
            ("/hub", Endpoint::Home),
            ("/hub/", Endpoint::Home),
            ("/hub/home", Endpoint::Home),
            ("/hub/oauth_callback", Endpoint::Callback("")),
            ("/hub/oauth_callback/eth", Endpoint::Callback("eth")),
            ("/hub/spawn/alice", Endpoint::Spawn("alice")),
            ("/hub/api", Endpoint::ApiRoot),
            ("/hub/api/", Endpoint::ApiRoot),
            ("/hub/api/users/alice/activity", api(Resource::Activity, "alice")),
            ("/hub/admin", Endpoint::Admin),
            ("/hub/api/sessions", api(Resource::Sessions, "")),
            ("/hub/api/sessions/0123456789ab", api(Resource::Session, "0123456789ab")),
            ("/hub/health", Endpoint::Health),
            ("/hub/token", Endpoint::Tokens),
            ("/hub/share", Endpoint::Share),
            ("/hub/accept-share", Endpoint::AcceptShare),
            ("/hub/device", Endpoint::Device),
            ("/hub/api/oauth2/device_authorization", Endpoint::ApiDevice),
            ("/hub/user-redirect/git-pull", Endpoint::UserRedirect("git-pull")),
        ] {
            assert_eq!(Route::find(path), Ok(Route::Own(endpoint)), "{path}");
        }
        for path in
            ["/hub/login/", "/hub/Login", "/hub/%6cogin", "/user", "/k_logout", "/hub/x", "/hub//login"]
        {
            assert_eq!(Route::find(path), Ok(Route::Unknown), "{path}");
        }
    }
}

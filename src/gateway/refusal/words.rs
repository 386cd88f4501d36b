//! What a person reads of each refusal.

use super::Refusal;
use super::start::{failure_words, pulled_words};
use crate::forward::ForwardError;
use crate::mapping::MappingError;
use crate::oidc::OidcError;
use crate::spawner::Phase;
use crate::store::StoreError;
use crate::workspace::{NoChoice, ServerError};

/// What a person reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Words {
    pub title: &'static str,
    pub what: String,
    pub remedy: &'static str,
}

impl Refusal {
    /// What happened and what to do, for whoever asked. Never a cause, a path or a container's name.
    #[expect(clippy::too_many_lines, reason = "one table: the words of every refusal, side by side")]
    pub(in crate::gateway) fn words(&self) -> Words {
        let words = |title, what: &str, remedy| Words { title, what: what.to_owned(), remedy };
        match self {
            Self::BadPath | Self::BadHost | Self::BadRequest(_) => words(
                "This address cannot be understood",
                "The address of this page, or the way it was asked for, can be read in more than one way.",
                "Start again from the front page.",
            ),
            Self::WrongHost { public } => Words {
                title: "This is at another address",
                what: format!("What you asked for is at {public}."),
                remedy: "Open it there.",
            },
            Self::Method | Self::ApiMethod(_) => words(
                "This cannot be done here",
                "The method of this request is not served.",
                "Start again from the front page.",
            ),
            Self::TooLarge => {
                words("This is too large", "The request is larger than this page takes.", "Send less.")
            }
            Self::LoginRequired { .. } => words(
                "Please sign in",
                "Nobody is signed in here, or the login has expired.",
                "Sign in, then try again.",
            ),
            Self::CrossSite => words(
                "This came from another site",
                "A page of another site made your browser ask for this. That could be an attempt to act in your name.",
                "If you wanted it, do it from this hub's own pages.",
            ),
            Self::NotYours => words(
                "This is not your server",
                "You are signed in, but this address belongs to somebody else.",
                "Go to your own server from the front page.",
            ),
            Self::LooksOnly => words(
                "You may look at this server only",
                "Its owner has shared it with you to be looked at: nothing can be changed or run there.",
                "Ask its owner for full access, if you need it.",
            ),
            Self::NobodyHome(nobody) => Words {
                title: "This server is not running",
                what: format!("{} has shared it with you, and has not started it.", nobody.owner),
                remedy: "Ask them to start it.",
            },
            Self::NotFound | Self::NoSuch(_) => words(
                "There is nothing here",
                "This hub has no page at this address.",
                "Start again from the front page.",
            ),
            Self::LoginLost => words(
                "This login cannot be finished",
                "It took too long, was finished already, or began in another browser.",
                "Sign in again.",
            ),
            Self::LoginLoop { twice: true } => words(
                "Signing in leads round in a circle",
                "Your browser sends two cookies of this hub's name, so neither counts. A page of another site of this domain has set one of them.",
                "Remove the cookies of this site and of its domain in your browser's settings; then sign in again.",
            ),
            Self::LoginLoop { twice: false } => words(
                "Signing in leads round in a circle",
                "You were signed in three times within a minute, and each time your browser came back without being signed in. It does not keep this hub's cookie: cookies may be blocked for this site, or its clock may be wrong.",
                "Allow cookies for this site or remove those it has, set the clock, and wait a minute; then sign in again.",
            ),
            Self::Outage => words(
                "The login service has been away for too long",
                "This hub goes on without it for some time, which is over: it cannot know any more whether you may work here. What runs in your server goes on.",
                "Try again in a few minutes.",
            ),
            Self::RouteNotGranted => words(
                "This is not open to you",
                "You are signed in, but this part of the hub is for others.",
                "Ask the administrators of this hub for access.",
            ),
            Self::Folder(_) => words(
                "Something broke here",
                "This hub could not read the file.",
                "Tell the administrators the request number below.",
            ),
            Self::NotGranted => words(
                "You may not use this environment any more",
                "Your server runs an environment that is no longer open to you.",
                "Stop it from your home page, and start another one.",
            ),
            Self::NotOffered(_) => words(
                "You may not start this",
                "Only what your home page offers can be started.",
                "Choose there; if something is missing, ask the administrators of this hub.",
            ),
            Self::NoChoice(NoChoice { option }) => words(
                "You cannot choose this",
                &format!("The option {option} has no such choice."),
                "Choose on your home page what to start.",
            ),
            Self::Server(error) => server_words(error),
            Self::Program(refusal) => refusal.words(),
            Self::Oidc(error) => oidc_words(error),
            Self::Mapping(error) => mapping_words(error),
            Self::Store(StoreError::NameTaken { name }) => Words {
                title: "Your user name is taken",
                what: format!(
                    "You signed in as {name:?}, and somebody else of that name came before you. Their files are theirs, so you cannot be let in under it."
                ),
                remedy: "Ask the administrators of this hub for another name.",
            },
            Self::Store(_) => words(
                "Something broke here",
                "This hub could not use its own records.",
                "Try again in a minute; if it stays, tell the administrators.",
            ),
            Self::Starting { phase, title, .. } => Words {
                title: "Your server is starting",
                what: match phase {
                    Phase::Waiting => format!("{title}: preparing."),
                    Phase::Pulling(pulled) => format!("{title}: {}.", pulled_words(pulled)),
                    Phase::Creating => format!("{title}: making the container."),
                    Phase::Booting => format!("{title}: waiting for it to answer."),
                },
                remedy: "This page looks again every two seconds. You may close it: the start goes on.",
            },
            Self::Cancelled { title, .. } => Words {
                title: "The start was cancelled",
                what: format!(
                    "{title} was not started, and nothing of it runs. Your files are as they were."
                ),
                remedy: "Start it again whenever you like.",
            },
            Self::Stopping => words(
                "Your server is stopping",
                "It is being shut down.",
                "Wait a moment, then start it again.",
            ),
            Self::NotRunning | Self::Stopped(_) => words(
                "Your server is not running",
                "It was stopped, or it ended.",
                "Start it again from your home page.",
            ),
            Self::Failing { failure, image } => Words {
                title: "Your server did not start",
                what: failure_words(failure, image),
                remedy: "Try again; if it stays, tell the administrators the request number below.",
            },
            Self::NothingAtPort(port) => Words {
                title: "Nothing answers at this port",
                what: format!(
                    "No program in your server listens on port {port}, or it listens on 127.0.0.1 only."
                ),
                remedy: "Start it, and let it listen on 0.0.0.0; then reload.",
            },
            Self::Forward(ForwardError::Timeout { .. }) => words(
                "Your server is too slow",
                "It took the request and did not answer in time.",
                "It may be busy. Wait, or stop and start it from your home page.",
            ),
            Self::Forward(ForwardError::Client { .. }) => {
                words("The upload broke off", "Your browser stopped sending.", "Try again.")
            }
            Self::Forward(_) => words(
                "Your server does not answer",
                "It runs, but the connection to it broke.",
                "Reload in a moment. If it stays, stop and start it from your home page.",
            ),
        }
    }
}

fn oidc_words(error: &OidcError) -> Words {
    let words = |title, what: &str, remedy| Words { title, what: what.to_owned(), remedy };
    match error {
        OidcError::Unreachable { .. } | OidcError::Interrupted { .. } | OidcError::Settings { .. } => words(
            "Signing in is not possible right now",
            "The login service does not answer. Whoever is signed in already can go on working.",
            "Try again in a few minutes.",
        ),
        OidcError::Refused { error, description } => Words {
            title: "The login service refused",
            what: match description {
                Some(description) => format!("It says: {description} ({error})."),
                None => format!("It says: {error}."),
            },
            remedy: "Sign in again; if it stays, tell the administrators.",
        },
        OidcError::Mismatch(_) => words(
            "This login cannot be finished",
            "The login service's answer does not belong to a login that this browser began.",
            "Sign in again.",
        ),
        OidcError::Weak(_) => words(
            "A stronger login is needed",
            "You signed in, but not in the way, or not as recently, as this hub asks for.",
            "Sign in again, and confirm it as you are asked to (a code, a key). If you are not asked, tell the administrators.",
        ),
        OidcError::Untrusted { what, .. } if what.contains("clock") => words(
            "The clocks do not agree",
            "The clock of this hub and the login service's differ too much, so nobody can be signed in.",
            "Tell the administrators: one of the two machines must set its clock.",
        ),
        OidcError::Untrusted { .. } => words(
            "The login service's answer cannot be trusted",
            "It did not pass this hub's checks, so nobody was signed in.",
            "Tell the administrators the request number below.",
        ),
    }
}

fn mapping_words(error: &MappingError) -> Words {
    match error {
        MappingError::NotAllowed { name } => Words {
            title: "You are not allowed in",
            what: format!("You are signed in as {name:?}, but no rule of this hub lets you in."),
            remedy: "Ask the administrators of this hub for access.",
        },
        MappingError::NoProfile { name } => Words {
            title: "There is nothing you may start",
            what: format!("You are signed in as {name:?}, but no environment of this hub is open to you."),
            remedy: "Ask the administrators of this hub for access.",
        },
        MappingError::Unverified { .. } => Words {
            title: "Your e-mail address is not verified",
            what: "This hub knows people by their addresses, and the login service does not say that yours is verified.".to_owned(),
            remedy: "Verify it at the login service, then sign in again.",
        },
        MappingError::NoName { .. } | MappingError::UnsafeName { .. } => Words {
            title: "Your account has no name that can be used here",
            what: "The login service sent no user name for you, or one that cannot be made safe.".to_owned(),
            remedy: "Ask the administrators of this hub.",
        },
    }
}

fn server_words(error: &ServerError) -> Words {
    let (title, remedy) = match error {
        ServerError::Name(_) => ("A server cannot have this name", "Choose another name."),
        ServerError::TooMany { .. } => {
            ("You have all the servers you may have", "Remove one that you do not need.")
        }
        ServerError::Runs => ("This server still runs", "Stop it first."),
        ServerError::Store(_) => ("Something broke here", "Try again in a minute."),
    };
    Words { title, what: format!("{}.", sentence(&error.to_string())), remedy }
}

fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

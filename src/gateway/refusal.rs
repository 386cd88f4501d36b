//! Why a request got no answer from a workspace: status, page, log level and label of each. The only place that
//! knows status codes.

use http::StatusCode;
use thiserror::Error;
use tracing::Level;

use super::local_path::LocalPath;
use crate::forward::ForwardError;
use crate::mapping::MappingError;
use crate::oidc::OidcError;
use crate::session::BeginError;
use crate::spawner::Phase;
use crate::store::StoreError;
use crate::workspace::Failure;

/// A request that is not forwarded.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("the path is ambiguous")]
    BadPath,
    #[error("the request names no host, or more than one")]
    BadHost,
    #[error("the request is for another host")]
    WrongHost { public: String },
    #[error("the method is not served")]
    Method,
    #[error("the request cannot be understood: {0}")]
    BadRequest(&'static str),
    #[error("the body is too large")]
    TooLarge,
    #[error("nobody is signed in")]
    LoginRequired { next: Option<LocalPath> },
    #[error("another site made the browser send this")]
    CrossSite,
    #[error("this belongs to somebody else")]
    NotYours,
    #[error("there is nothing here")]
    NotFound,
    #[error("the login has expired, or began in another browser")]
    LoginLost,
    #[error("one login follows another, and none lasts")]
    LoginLoop { twice: bool },
    #[error("the provider cannot be asked for too long")]
    Outage,
    #[error("the workspace runs what is not granted any more")]
    NotGranted,
    #[error("the login failed")]
    Oidc(#[from] OidcError),
    #[error("not allowed")]
    Mapping(#[from] MappingError),
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the workspace is starting")]
    Starting { phase: Phase, title: String },
    #[error("the workspace is stopping")]
    Stopping,
    #[error("the workspace does not run")]
    NotRunning,
    #[error("the workspace did not start")]
    Failing { failure: std::sync::Arc<Failure>, image: String },
    #[error("the workspace did not answer")]
    Forward(#[from] ForwardError),
}

/// What a person reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub title: &'static str,
    pub what: String,
    pub remedy: &'static str,
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadPath
            | Self::BadHost
            | Self::BadRequest(_)
            | Self::LoginLost
            | Self::LoginLoop { .. }
            | Self::Forward(ForwardError::Client { .. }) => StatusCode::BAD_REQUEST,
            Self::WrongHost { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::LoginRequired { .. } => StatusCode::UNAUTHORIZED,
            Self::CrossSite
            | Self::NotYours
            | Self::NotGranted
            | Self::Mapping(_)
            | Self::Store(StoreError::NameTaken { .. }) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Oidc(error) => match error {
                OidcError::Unreachable { .. }
                | OidcError::Interrupted { .. }
                | OidcError::Settings { .. } => StatusCode::SERVICE_UNAVAILABLE,
                OidcError::Mismatch(_) => StatusCode::BAD_REQUEST,
                OidcError::Refused { .. } | OidcError::Untrusted { .. } | OidcError::Weak(_) => {
                    StatusCode::FORBIDDEN
                }
            },
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Outage | Self::Starting { .. } | Self::Stopping | Self::Failing { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            // As JupyterHub since 2.0: JupyterLab offers to start the server again.
            Self::NotRunning => StatusCode::FAILED_DEPENDENCY,
            Self::Forward(ForwardError::Timeout { .. }) => StatusCode::GATEWAY_TIMEOUT,
            Self::Forward(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// A label for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::BadPath => "bad_path",
            Self::BadHost => "bad_host",
            Self::WrongHost { .. } => "wrong_host",
            Self::Method => "method",
            Self::BadRequest(_) => "bad_request",
            Self::TooLarge => "too_large",
            Self::LoginRequired { .. } => "login_required",
            Self::CrossSite => "cross_site",
            Self::NotYours => "not_yours",
            Self::NotFound => "not_found",
            Self::LoginLost => "login_lost",
            Self::LoginLoop { .. } => "login_loop",
            Self::Outage => "outage",
            Self::NotGranted => "not_granted",
            Self::Oidc(_) => "provider",
            Self::Mapping(_) => "not_allowed",
            Self::Store(StoreError::NameTaken { .. }) => "name_taken",
            Self::Store(_) => "store",
            Self::Starting { .. } => "starting",
            Self::Stopping => "stopping",
            Self::NotRunning => "not_running",
            Self::Failing { .. } => "failing",
            Self::Forward(error) => error.kind(),
        }
    }

    /// How loud the log is: a client's mistake is nobody's business, a failing neighbour is worth a look, and what is
    /// ours must be seen to.
    pub(super) fn level(&self) -> Level {
        match self {
            Self::BadPath
            | Self::BadHost
            | Self::WrongHost { .. }
            | Self::Method
            | Self::BadRequest(_)
            | Self::TooLarge
            | Self::LoginRequired { .. }
            | Self::CrossSite
            | Self::NotYours
            | Self::NotFound
            | Self::LoginLost
            | Self::Outage
            | Self::NotGranted
            | Self::Starting { .. }
            | Self::Stopping
            | Self::NotRunning
            // Logged once, when it happened.
            | Self::Failing { .. }
            | Self::Forward(ForwardError::Client { .. }) => Level::DEBUG,
            Self::LoginLoop { .. } | Self::Oidc(_) | Self::Mapping(_) | Self::Store(StoreError::NameTaken { .. }) | Self::Forward(_) => Level::WARN,
            Self::Store(_) => Level::ERROR,
        }
    }

    /// What an administrator can do, where there is something.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Oidc(error) => Some(error.remedy()),
            Self::Mapping(MappingError::NotAllowed { .. }) => Some("add a [[rule]] that matches this user"),
            Self::Mapping(MappingError::NoProfile { .. }) => {
                Some("grant a profile in a [[rule]] that matches this user")
            }
            Self::Mapping(_) => Some("choose another provider.username_claim, or correct the account"),
            Self::Store(StoreError::NameTaken { .. }) => Some(
                "rename one of the accounts, or choose a provider.username_claim that is different for everybody",
            ),
            Self::Store(_) => Some("see to the database in store.folder: space, permissions"),
            Self::BadPath
            | Self::BadHost
            | Self::WrongHost { .. }
            | Self::Method
            | Self::BadRequest(_)
            | Self::TooLarge
            | Self::LoginRequired { .. }
            | Self::CrossSite
            | Self::NotYours
            | Self::NotFound
            | Self::LoginLost
            | Self::LoginLoop { .. }
            | Self::Outage
            | Self::NotGranted
            | Self::Starting { .. }
            | Self::Stopping
            | Self::NotRunning
            | Self::Failing { .. }
            | Self::Forward(_) => None,
        }
    }

    /// Where to go from a page that shows this: the link's words and its address.
    pub(super) fn way_out(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Starting { .. } | Self::Stopping => None,
            Self::LoginRequired { .. }
            | Self::LoginLost
            | Self::LoginLoop { .. }
            | Self::Oidc(_)
            | Self::Mapping(_)
            | Self::Store(_) => Some(("Sign in", "/hub/login")),
            Self::NotGranted | Self::Failing { .. } | Self::NotRunning | Self::Forward(_) => {
                Some(("Your home page", "/hub/home"))
            }
            Self::BadPath
            | Self::BadHost
            | Self::WrongHost { .. }
            | Self::Method
            | Self::BadRequest(_)
            | Self::TooLarge
            | Self::CrossSite
            | Self::NotYours
            | Self::Outage
            | Self::NotFound => Some(("Front page", "/")),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one table: the words of every refusal, side by side")]
    /// What happened and what to do, for whoever asked. Never a cause, a path or a container's name.
    pub(super) fn words(&self) -> Words {
        let words = |title, what: &str, remedy| Words { title, what: what.to_owned(), remedy };
        match self {
            Self::BadPath | Self::BadHost | Self::BadRequest(_) => words(
                "This address cannot be understood",
                "The address of this page, or the way it was asked for, can be read in more than one way.",
                "Start again from the front page.",
            ),
            Self::WrongHost { public } => Words {
                title: "This is not the address of this hub",
                what: format!("This hub is at {public}."),
                remedy: "Open it there.",
            },
            Self::Method => words(
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
            Self::NotFound => words(
                "There is nothing here",
                "This hub has no page at this address.",
                "Start again from the front page.",
            ),
            Self::LoginLost => words(
                "This login cannot be finished",
                "It took too long, was finished already, or began in another browser.",
                "Sign in again.",
            ),
            Self::LoginLoop { twice } => Words {
                title: "Signing in leads round in a circle",
                what: format!(
                    "You were signed in three times within a minute, and each time your browser came back without being signed in. {}",
                    if *twice {
                        "It sends two cookies of this hub's name: a page of another site of this domain has set one."
                    } else {
                        "It does not keep this hub's cookie: cookies may be blocked for this site, or its clock may be wrong."
                    }
                ),
                remedy: "Allow cookies for this site or remove those it has, set the clock, and wait a minute; then sign in again.",
            },
            Self::Outage => words(
                "The login service has been away for too long",
                "This hub goes on without it for some time, which is over: it cannot know any more whether you may work here. What runs in your server goes on.",
                "Try again in a few minutes.",
            ),
            Self::NotGranted => words(
                "You may not use this environment any more",
                "Your server runs an environment that is no longer open to you.",
                "Stop it from your home page, and start another one.",
            ),
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
            Self::Starting { phase, title } => Words {
                title: "Your server is starting",
                what: match phase {
                    Phase::Waiting => format!("{title}: preparing."),
                    Phase::Pulling { done, total } if *total > 0 => {
                        format!(
                            "{title}: fetching the image, {} of {} MB.",
                            done / 1_000_000,
                            total / 1_000_000
                        )
                    }
                    Phase::Pulling { .. } => format!("{title}: fetching the image."),
                    Phase::Creating => format!("{title}: making the container."),
                    Phase::Booting => format!("{title}: waiting for it to answer."),
                },
                remedy: "This page looks again every two seconds. You may close it: the start goes on.",
            },
            Self::Stopping => words(
                "Your server is stopping",
                "It is being shut down.",
                "Wait a moment, then start it again.",
            ),
            Self::NotRunning => words(
                "Your server is not running",
                "It was stopped, or it ended.",
                "Start it again from your home page.",
            ),
            Self::Failing { failure, image } => Words {
                title: "Your server did not start",
                what: failure_words(failure, image),
                remedy: "Try again; if it stays, tell the administrators the request number below.",
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
        MappingError::NoName { .. } | MappingError::UnsafeName { .. } => Words {
            title: "Your account has no name that can be used here",
            what: "The login service sent no user name for you, or one that cannot be made safe.".to_owned(),
            remedy: "Ask the administrators of this hub.",
        },
    }
}

fn failure_words(failure: &Failure, image: &str) -> String {
    use crate::spawner::SpawnError;
    use crate::workspace::StartError;
    match &failure.error {
        StartError::Spawn(SpawnError::Unreachable { .. }) => {
            "The container service of this hub does not answer. You stay signed in.".to_owned()
        }
        StartError::Spawn(SpawnError::Pull { .. }) => {
            format!("The image {image} is not on this hub, and could not be fetched.")
        }
        StartError::Spawn(SpawnError::Ended { out_of_memory: true, .. }) => {
            "It used more memory than it is allowed, and was ended.".to_owned()
        }
        StartError::Spawn(SpawnError::Ended { .. }) => "It ended while it was starting.".to_owned(),
        StartError::Timeout { after } => format!("It did not answer within {} seconds.", after.as_secs()),
        StartError::Spawn(_) | StartError::NoHubApi { .. } | StartError::NoCommand { .. } => {
            "This hub could not make it as it is configured.".to_owned()
        }
    }
}

impl From<BeginError> for Refusal {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Store(error) => Self::Store(error),
            // The provider ended it before it had begun: to this browser it is as if it had taken too long.
            BeginError::LoggedOut => Self::LoginLost,
        }
    }
}

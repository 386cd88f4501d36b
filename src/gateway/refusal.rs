//! Why a request got no answer from a workspace: status, page, log level and label of each. The only place that
//! knows status codes.

mod start;

use http::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;
use tracing::Level;

use self::start::failure_words;
use super::local_path::LocalPath;
use super::program::ProgramRefusal;
use super::stopped::Stopped;
use crate::forward::ForwardError;
use crate::mapping::MappingError;
use crate::oidc::{BearerError, OidcError};
use crate::session::BeginError;
use crate::spawner::Phase;
use crate::store::StoreError;
use crate::workspace::{Failure, ServerError};

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
    #[error("no such {0}")]
    NoSuch(&'static str),
    #[error("the login has expired, or began in another browser")]
    LoginLost,
    #[error("one login follows another, and none lasts")]
    LoginLoop { twice: bool },
    #[error("the provider cannot be asked for too long")]
    Outage,
    #[error("the workspace runs what is not granted any more")]
    NotGranted,
    #[error("a choice that nobody offered: {0:?}")]
    NotOffered(String),
    #[error("the server cannot be made or taken away")]
    Server(#[source] ServerError),
    #[error("the program is refused")]
    Program(#[from] ProgramRefusal),
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
    #[error("the workspace does not run")]
    Stopped(Stopped),
    #[error("the workspace did not start")]
    Failing { failure: std::sync::Arc<Failure>, image: String },
    #[error("nothing answers at port {0} of the workspace")]
    NothingAtPort(u16),
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
        self.row().status
    }

    /// Whether whoever asks for a page gets one.
    pub(super) fn has_page(&self) -> bool {
        !matches!(self, Self::Stopped(Stopped { api: true, .. }))
    }

    /// A label for metrics.
    pub(super) fn label(&self) -> &'static str {
        self.row().label
    }

    /// How loud the log is.
    pub(super) fn level(&self) -> Level {
        self.row().level
    }

    /// What an administrator can do, where there is something.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        self.row().remedy
    }

    /// Where to go from a page that shows this.
    pub(super) fn way_out(&self) -> Option<WayOut> {
        self.row().way_out
    }

    /// What a program reads: JupyterHub's form of an error, and RFC 6750's where it is about a token.
    pub(super) fn answer(&self) -> Value {
        let status = self.status().as_u16();
        if let Self::Program(refusal) = self {
            let description = refusal.description();
            return json!({
                "status": status, "message": description,
                "error": refusal.error(), "error_description": description,
            });
        }
        if let Self::Stopped(stopped) = self {
            return stopped.answer();
        }
        let message = match self {
            // For programs' makers; people never see them.
            Self::BadRequest(what) => (*what).to_owned(),
            Self::NoSuch(what) => format!("No such {what}"),
            refusal => refusal.words().title.to_owned(),
        };
        json!({ "status": status, "message": message })
    }

    /// A new refusal needs a row here, and its words below.
    fn row(&self) -> Row {
        use StatusCode as S;
        match self {
            Self::BadPath => Row::quiet(S::BAD_REQUEST, "bad_path", FRONT),
            Self::BadHost => Row::quiet(S::BAD_REQUEST, "bad_host", FRONT),
            Self::WrongHost { .. } => Row::quiet(S::MISDIRECTED_REQUEST, "wrong_host", FRONT),
            Self::Method => Row::quiet(S::METHOD_NOT_ALLOWED, "method", FRONT),
            Self::BadRequest(_) => Row::quiet(S::BAD_REQUEST, "bad_request", FRONT),
            Self::TooLarge => Row::quiet(S::PAYLOAD_TOO_LARGE, "too_large", FRONT),
            Self::LoginRequired { .. } => Row::quiet(S::UNAUTHORIZED, "login_required", LOGIN),
            Self::CrossSite => Row::quiet(S::FORBIDDEN, "cross_site", FRONT),
            Self::NotYours => Row::quiet(S::FORBIDDEN, "not_yours", FRONT),
            Self::NotFound | Self::NoSuch(_) => Row::quiet(S::NOT_FOUND, "not_found", FRONT),
            Self::LoginLost => Row::quiet(S::BAD_REQUEST, "login_lost", LOGIN),
            Self::LoginLoop { .. } => Row::quiet(S::BAD_REQUEST, "login_loop", LOGIN).warn(None),
            Self::Outage => Row::quiet(S::SERVICE_UNAVAILABLE, "outage", FRONT),
            Self::NotGranted => Row::quiet(S::FORBIDDEN, "not_granted", HOME),
            Self::NotOffered(_) => Row::quiet(S::FORBIDDEN, "not_offered", HOME)
                .warn("grant the profile in a [[rule]], if this user is to start it; an image is started by its profile"),
            Self::Server(ServerError::Name(_)) => Row::quiet(S::BAD_REQUEST, "server_name", HOME),
            Self::Server(_) => Row::quiet(S::CONFLICT, "server", HOME),
            Self::Program(refusal) => refusal.row(FRONT),
            Self::Oidc(error) => Row::quiet(oidc_status(error), "provider", LOGIN).warn(error.remedy()),
            Self::Mapping(error) => Row::quiet(S::FORBIDDEN, "not_allowed", LOGIN).warn(error.remedy()),
            Self::Store(StoreError::NameTaken { .. }) => Row::quiet(S::FORBIDDEN, "name_taken", LOGIN).warn(
                "rename one of the accounts, or choose a provider.username_claim that is different for everybody",
            ),
            Self::Store(_) => Row::quiet(S::INTERNAL_SERVER_ERROR, "store", LOGIN)
                .error("see to the database in store.folder: space, permissions"),
            Self::Starting { .. } => Row::quiet(S::SERVICE_UNAVAILABLE, "starting", None),
            Self::Stopping => Row::quiet(S::SERVICE_UNAVAILABLE, "stopping", None),
            // As JupyterHub since 2.0: JupyterLab offers to start the server again.
            Self::NotRunning => Row::quiet(S::FAILED_DEPENDENCY, "not_running", HOME),
            Self::Stopped(stopped) => Row::quiet(stopped.status, "not_running", HOME),
            // Logged once, when it happened.
            Self::Failing { .. } => Row::quiet(S::SERVICE_UNAVAILABLE, "failing", HOME),
            Self::NothingAtPort(_) => Row::quiet(S::BAD_GATEWAY, "port", HOME),
            Self::Forward(error @ ForwardError::Client { .. }) => Row::quiet(S::BAD_REQUEST, error.kind(), HOME),
            Self::Forward(error @ ForwardError::Timeout { .. }) => {
                Row::quiet(S::GATEWAY_TIMEOUT, error.kind(), HOME).warn(None)
            }
            // As JupyterHub's proxy: JupyterLab takes 502 for an error of what it asked for, and 503 for a server that
            // is away.
            Self::Forward(error @ ForwardError::Connect { .. }) => {
                Row::quiet(S::SERVICE_UNAVAILABLE, error.kind(), HOME).warn(None)
            }
            Self::Forward(error) => Row::quiet(S::BAD_GATEWAY, error.kind(), HOME).warn(None),
        }
    }

    /// What happened and what to do, for whoever asked. Never a cause, a path or a container's name.
    #[expect(clippy::too_many_lines, reason = "one table: the words of every refusal, side by side")]
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
            Self::NotOffered(_) => words(
                "You may not start this",
                "Only what your home page offers can be started.",
                "Choose there; if something is missing, ask the administrators of this hub.",
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

/// What a refusal is to programs and administrators: one row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    status: StatusCode,
    label: &'static str,
    way_out: Option<WayOut>,
    level: Level,
    remedy: Option<&'static str>,
}

/// A link's words and its address.
pub(super) type WayOut = (&'static str, &'static str);

impl Row {
    /// A client's mistake, or what has been logged already: nobody's business.
    pub(super) fn quiet(status: StatusCode, label: &'static str, way_out: Option<WayOut>) -> Self {
        Self { status, label, way_out, level: Level::DEBUG, remedy: None }
    }

    /// A neighbour that fails, or an account that does not fit: worth a look.
    pub(super) fn warn(self, remedy: impl Into<Option<&'static str>>) -> Self {
        Self { level: Level::WARN, remedy: remedy.into(), ..self }
    }

    /// Ours: must be seen to.
    fn error(self, remedy: &'static str) -> Self {
        Self { level: Level::ERROR, remedy: Some(remedy), ..self }
    }
}

fn oidc_status(error: &OidcError) -> StatusCode {
    match error {
        OidcError::Unreachable { .. } | OidcError::Interrupted { .. } | OidcError::Settings { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        OidcError::Mismatch(_) => StatusCode::BAD_REQUEST,
        OidcError::Refused { .. } | OidcError::Untrusted { .. } | OidcError::Weak(_) => StatusCode::FORBIDDEN,
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

impl From<BearerError> for Refusal {
    fn from(error: BearerError) -> Self {
        Self::Program(error.into())
    }
}

impl From<ServerError> for Refusal {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Store(error) => Self::Store(error),
            ServerError::Name(_) | ServerError::TooMany { .. } | ServerError::Runs => Self::Server(error),
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

const FRONT: Option<WayOut> = Some(("Front page", "/"));
const HOME: Option<WayOut> = Some(("Your home page", "/hub/home"));
const LOGIN: Option<WayOut> = Some(("Sign in", "/hub/login"));

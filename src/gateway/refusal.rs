//! Why a request got no answer from a workspace: status, page, log level and label of each. The only place that
//! knows status codes.

mod start;
mod words;

use http::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;
use tracing::Level;

pub(super) use self::words::Words;
use super::local_path::LocalPath;
use super::page::Action;
use super::program::ProgramRefusal;
use super::stopped::Stopped;
use super::visit::NobodyHome;
use crate::forward::ForwardError;
use crate::mapping::MappingError;
use crate::oidc::{BearerError, OidcError};
use crate::routes::Resource;
use crate::session::BeginError;
use crate::spawner::Phase;
use crate::store::StoreError;
use crate::workspace::{Failure, NoChoice, ServerError};

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
    #[error("the method is not served at this address of the API")]
    ApiMethod(Resource),
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
    #[error("a visitor who may look wants to do more")]
    LooksOnly,
    #[error("a workspace that is shared does not run")]
    NobodyHome(NobodyHome),
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
    #[error("the route is not granted")]
    RouteNotGranted,
    #[error("a file cannot be read")]
    Folder(#[source] std::io::Error),
    #[error("the workspace runs what is not granted any more")]
    NotGranted,
    #[error("a choice that nobody offered: {0:?}")]
    NotOffered(String),
    #[error("an option of the start has no such choice")]
    NoChoice(#[from] NoChoice),
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
    Starting { phase: Phase, title: String, offers: Vec<Action> },
    #[error("the start of the workspace was cancelled")]
    Cancelled { title: String, offers: Vec<Action> },
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

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        self.row().status
    }

    /// Whether whoever asks for a page gets one.
    pub(super) fn has_page(&self) -> bool {
        !matches!(
            self,
            Self::Stopped(Stopped { api: true, .. }) | Self::NobodyHome(NobodyHome { api: true, .. })
        )
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

    /// What can be done at once from that page.
    pub(super) fn offers(&self) -> &[Action] {
        if let Self::Starting { offers, .. } | Self::Cancelled { offers, .. } = self { offers } else { &[] }
    }

    /// Whether it is because nobody is known by what they showed, if they showed anything.
    pub(super) fn is_of_a_stranger(&self) -> bool {
        let bad = |refusal: &ProgramRefusal| refusal.error() == Some("invalid_token");
        matches!(self, Self::LoginRequired { .. }) || matches!(self, Self::Program(refusal) if bad(refusal))
    }

    /// What a program reads: JupyterHub's form of an error, and RFC 6750's where it is about a token.
    pub(super) fn answer(&self, status: StatusCode) -> Value {
        let status = status.as_u16();
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
        if let Self::NobodyHome(nobody) = self {
            return nobody.answer();
        }
        // The first three are for programs' makers; people read the others, too.
        let message = if let Self::BadRequest(what) = self {
            (*what).to_owned()
        } else if let Self::WrongHost { .. } = self {
            self.words().what
        } else if let Self::NoSuch(what) = self {
            format!("No such {what}")
        } else if let Self::ApiMethod(_) = self {
            "This address has no such method".to_owned()
        } else {
            self.words().title.to_owned()
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
            Self::Method | Self::ApiMethod(_) => Row::quiet(S::METHOD_NOT_ALLOWED, "method", FRONT),
            Self::BadRequest(_) => Row::quiet(S::BAD_REQUEST, "bad_request", FRONT),
            Self::TooLarge => Row::quiet(S::PAYLOAD_TOO_LARGE, "too_large", FRONT),
            Self::LoginRequired { .. } => Row::quiet(S::UNAUTHORIZED, "login_required", LOGIN),
            Self::CrossSite => Row::quiet(S::FORBIDDEN, "cross_site", FRONT),
            Self::NotYours => Row::quiet(S::FORBIDDEN, "not_yours", FRONT),
            Self::LooksOnly => Row::quiet(S::FORBIDDEN, "looks_only", HOME),
            Self::NotFound | Self::NoSuch(_) => Row::quiet(S::NOT_FOUND, "not_found", FRONT),
            Self::LoginLost => Row::quiet(S::BAD_REQUEST, "login_lost", LOGIN),
            Self::LoginLoop { .. } => Row::quiet(S::BAD_REQUEST, "login_loop", LOGIN).warn(None),
            Self::Outage => Row::quiet(S::SERVICE_UNAVAILABLE, "outage", FRONT),
            Self::RouteNotGranted => Row::quiet(S::FORBIDDEN, "route_not_granted", FRONT),
            Self::Folder(_) => Row::quiet(S::INTERNAL_SERVER_ERROR, "folder", FRONT)
                .error("let hubgate's Unix user read the folder of this [[route]]"),
            Self::NotGranted => Row::quiet(S::FORBIDDEN, "not_granted", HOME),
            Self::NotOffered(_) => Row::quiet(S::FORBIDDEN, "not_offered", HOME)
                .warn("grant the profile in a [[rule]], if this user is to start it; an image is started by its profile"),
            Self::NoChoice(_) => Row::quiet(S::BAD_REQUEST, "no_choice", HOME)
                .warn("a choice is offered by [[profile.option]]; a link or a program may name another"),
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
            Self::NotRunning | Self::NobodyHome(_) => Row::quiet(S::FAILED_DEPENDENCY, "not_running", HOME),
            Self::Cancelled { .. } => Row::quiet(S::FAILED_DEPENDENCY, "cancelled", HOME),
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

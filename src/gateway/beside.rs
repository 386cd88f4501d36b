//! What is beside the hub at its address: `[[route]]`, programs and folders that administrators put there.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tower_http::services::ServeDir;

use super::caller::Caller;
use super::head::Connection;
use super::hosts::Origin;
use super::refusal::Refusal;
use super::{Body, Gateway, slash};
use crate::config;
use crate::forward::{About, Authorization, Forwarder, Lifeline, Pool};
use crate::upstream::Upstream;

/// All routes, the longest path first.
#[derive(Debug)]
pub struct Beside(Vec<Arc<Neighbour>>);

/// One of them.
#[derive(Debug)]
pub(super) struct Neighbour {
    name: Arc<str>,
    /// Begins and ends with a slash.
    path: String,
    what: What,
    /// For everybody; else for whoever it is granted to.
    pub(super) public: bool,
    containers: bool,
}

enum What {
    Folder(ServeDir),
    Program {
        pool: Arc<Pool>,
        /// What the program does not see of the path.
        prefix: Option<HeaderValue>,
        /// Of requests that hang on nobody's session.
        lifeline: Arc<Lifeline>,
    },
}

impl Beside {
    /// From the configuration, which was checked.
    pub fn new(routes: &[config::Route], forwarder: &Forwarder) -> Self {
        let mut all: Vec<_> =
            routes.iter().filter_map(|route| Neighbour::new(route, forwarder).map(Arc::new)).collect();
        all.sort_by_key(|neighbour| std::cmp::Reverse(neighbour.path.len()));
        Self(all)
    }

    /// What answers at a path that is neither the hub's nor a workspace's; the path as it stands is compared, with
    /// nothing decoded.
    pub(super) fn find(&self, path: &str) -> Option<&Arc<Neighbour>> {
        self.0.iter().find(|neighbour| path.starts_with(&neighbour.path) || neighbour.is_bare(path))
    }
}

impl Neighbour {
    fn new(route: &config::Route, forwarder: &Forwarder) -> Option<Self> {
        let prefix = route.path.trim_end_matches('/');
        let what = match (&route.folder, route.upstream) {
            (Some(folder), _) => What::Folder(
                ServeDir::new(folder).redirect_path_prefix(prefix).ignore_multi_range_requests(true),
            ),
            (None, Some(address)) => What::Program {
                pool: forwarder.pool(Upstream { address, instance: route.name.as_str().into() }),
                prefix: route.strip_path.then(|| HeaderValue::from_str(prefix).ok()).flatten(),
                lifeline: Lifeline::new(CancellationToken::new()),
            },
            (None, None) => return None,
        };
        Some(Self {
            name: route.name.as_str().into(),
            path: route.path.clone(),
            what,
            public: route.public,
            containers: route.containers && route.public,
        })
    }

    /// What it is called in the configuration.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is open to a caller.
    pub(super) fn is_open_to(&self, caller: &Caller) -> bool {
        caller.user().routes.contains(&self.name)
    }

    fn is_bare(&self, path: &str) -> bool {
        self.path.strip_suffix('/') == Some(path)
    }
}

impl Gateway {
    /// The routes that are for everybody, and what is open there on nobody's word but that.
    pub fn public_routes(&self) -> impl Iterator<Item = (Arc<str>, Arc<Lifeline>)> {
        let public = self.0.beside.0.iter().filter(|neighbour| neighbour.public);
        public.filter_map(|neighbour| match &neighbour.what {
            What::Program { lifeline, .. } => Some((Arc::clone(&neighbour.name), Arc::clone(lifeline))),
            What::Folder(_) => None,
        })
    }

    /// Answers a request that is permitted.
    pub(super) async fn beside(
        &self,
        connection: &Connection,
        at: &Origin,
        request: Request<Incoming>,
        caller: Option<&Caller>,
        neighbour: &Neighbour,
    ) -> Result<Response<Body>, Refusal> {
        if neighbour.is_bare(request.uri().path()) {
            let safe = [Method::GET, Method::HEAD].contains(request.method());
            return if safe { Ok(slash(&request)) } else { Err(Refusal::Method) };
        }
        match &neighbour.what {
            What::Folder(folder) => file(folder, &neighbour.path, request).await,
            What::Program { pool, prefix, lifeline } => {
                let rights = caller.map(Caller::rights);
                let user =
                    caller.and_then(|caller| HeaderValue::from_str(&caller.name().path_segment()).ok());
                let program = caller.is_some_and(|caller| caller.session().is_none());
                let about = About {
                    client: &connection.client_value,
                    host: &at.host_value,
                    user: user.as_ref(),
                    // What a program is known by here is not for others; the rest is theirs.
                    authorization: if program { Authorization::Removed } else { Authorization::Kept },
                    session_id: None,
                    prefix: prefix.as_ref(),
                    lifeline: rights.as_ref().map_or(lifeline, |rights| &rights.lifeline),
                    activity: None,
                    worker: connection.worker,
                };
                Ok(self.0.forwarder.send(request, pool, about).await?.map(Body::Forwarded))
            }
        }
    }

    /// What containers find at the hub API beside it.
    pub(super) async fn beside_containers(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let found = self.0.beside.find(request.uri().path()).filter(|neighbour| neighbour.containers);
        let neighbour = Arc::clone(found.ok_or(Refusal::NotFound)?);
        self.beside(connection, self.0.hosts.main(), request, None, &neighbour).await
    }
}

/// A file of a folder. What begins with a dot stays there: editors, versioning and people who hide things call it so.
async fn file(folder: &ServeDir, path: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Err(Refusal::Method);
    }
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let below = target.get(path.len() - 1..).ok_or(Refusal::NotFound)?;
    let decoded = percent_encoding::percent_decode_str(below.split('?').next().unwrap_or_default());
    let decoded = decoded.decode_utf8().map_err(|_not_text| Refusal::BadPath)?;
    if decoded.split('/').any(|segment| segment.starts_with('.')) {
        return Err(Refusal::NotFound);
    }
    let mut wanted = Request::new(http_body_util::Empty::<bytes::Bytes>::new());
    *wanted.uri_mut() = below.parse().map_err(|_no_uri| Refusal::BadPath)?;
    request.method().clone_into(wanted.method_mut());
    request.headers().clone_into(wanted.headers_mut());
    let mut answer = folder.clone().try_call(wanted).await.map_err(unreadable)?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Err(Refusal::NotFound);
    }
    answer.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer.map(Body::File))
}

fn unreadable(error: io::Error) -> Refusal {
    let absent = [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::InvalidFilename];
    if absent.contains(&error.kind()) { Refusal::NotFound } else { Refusal::Folder(error) }
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(_) => f.write_str("Folder"),
            Self::Program { pool, .. } => write!(f, "Program({})", pool.upstream()),
        }
    }
}

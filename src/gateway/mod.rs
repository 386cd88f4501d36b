//! One request: parse, route, session, authorize, resolve, forward.

mod accept;
mod admin;
mod api;
mod attempts;
mod authorize;
mod bearers;
mod beside;
mod body;
mod caller;
mod credential;
mod device;
mod domains;
mod elsewhere;
mod form;
mod forward;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod head;
mod home;
mod hosts;
mod jupyterhub;
mod local_path;
mod login;
mod logout;
mod one_time;
mod page;
mod poll;
mod port;
mod program;
mod redirect;
mod refusal;
mod rounds;
mod share;
mod starting;
mod step_up;
mod stopped;
mod tokens;
mod visit;
mod wanted;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::header::{ALLOW, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tracing::Level;

use self::api::activity::Reported;
use self::authorize::{Permit, Target, authorize};
use self::beside::Neighbour;
use self::caller::Caller;
use self::credential::Credential;
use self::head::Head;
use self::local_path::LocalPath;
use self::one_time::OneTime;
use self::page::Pages;
use self::refusal::Refusal;
use crate::clock::Clock;
use crate::forward::Forwarder;
use crate::groups::Groups;
use crate::mapping::Mapping;
use crate::metrics::{Answer, Kind, Metrics};
use crate::oidc::{Providers, StepUp};
use crate::people::People;
use crate::routes::{Endpoint, Route};
use crate::seal::{Sealer, random};
use crate::session::{Renewed, Session, Sessions};
use crate::share::Shares;
use crate::store::Store;
use crate::tasks::Tasks;
use crate::token::ApiTokens;
use crate::token::device::DeviceLogins;
use crate::user::UserName;
use crate::workspace::Workspaces;

pub use bearers::Bearers;
pub use beside::Beside;
pub use body::Body;
pub use head::Connection;
pub use hosts::{Hosts, Origin};
pub use redirect::Redirect;

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Answers requests; a clone is another handle.
#[derive(Clone)]
pub struct Gateway(Arc<Parts>, Arc<Own>);

/// What a [`Gateway`] works with.
#[derive(Debug)]
pub struct Parts {
    /// Where browsers reach the hub.
    pub hosts: Hosts,
    /// A sentence for error pages: whom to ask.
    pub contact: Option<String>,
    /// How long a person may take at the provider's login page.
    pub login_timeout: std::time::Duration,
    /// How well administrators must have proved who they are; `None`: an ordinary login will do.
    pub step_up: Option<StepUp>,
    /// Who vouches for people.
    pub providers: Providers,
    /// Who may enter.
    pub mapping: Mapping,
    /// Who is signed in.
    pub sessions: Sessions,
    /// What the provider last said of everybody.
    pub people: People,
    /// Groups of the hub's own.
    pub groups: Groups,
    /// What programs hold.
    pub api_tokens: ApiTokens,
    /// Who lets whom into their workspaces.
    pub shares: Shares,
    /// Access tokens of the providers' that programs hold.
    pub bearers: Arc<Bearers>,
    /// Who has which name.
    pub store: Store,
    /// What runs.
    pub workspaces: Workspaces,
    /// What is beside the hub.
    pub beside: Beside,
    /// What reaches it.
    pub forwarder: Forwarder,
    /// Seals login attempts and codes.
    pub sealer: Arc<Sealer>,
    /// The time of day.
    pub clock: Clock,
    /// Counts requests.
    pub metrics: Metrics,
    /// Runs what nobody waits for.
    pub tasks: Tasks,
}

/// What the gateway makes of its parts, once.
struct Own {
    pages: Pages,
    codes: OneTime,
    /// Logins that were finished and could still be tried again.
    finished: OneTime,
    /// Logout tokens that are looked at, at once.
    logouts: Semaphore,
    device_logins: DeviceLogins,
    /// When users were active, as they say.
    reported: Reported,
    request_base: u64,
    requests: AtomicU64,
}

/// What is known of a request before it is answered, for the log and the error page.
struct Seen {
    id: u64,
    started: Instant,
    route: &'static str,
    html: bool,
    /// See [`head::cuts_openers_off`].
    cuts_openers_off: bool,
    /// See [`credential::as_at_jupyterhub`].
    as_at_jupyterhub: bool,
    /// Who made it, and how they were known.
    caller: Option<(UserName, &'static str)>,
}

impl Gateway {
    /// A gateway over these parts.
    pub fn new(parts: Parts) -> Self {
        let pages = Pages::new(parts.contact.clone());
        let own = Own {
            pages,
            codes: OneTime::new(jupyterhub::CODE_LIFETIME),
            finished: OneTime::new(parts.login_timeout.as_secs()),
            logouts: Semaphore::new(LOGOUTS),
            device_logins: DeviceLogins::new(parts.clock.clone()),
            reported: Reported::default(),
            request_base: u64::from_ne_bytes(random()),
            requests: AtomicU64::new(0),
        };
        Self(Arc::new(parts), Arc::new(own))
    }

    /// To be called on a timer: access tokens that are over take along what is open for them, and workspaces that are no
    /// more their shares.
    pub fn sweep(&self) {
        self.0.bearers.sweep();
        self.0.shares.forget_gone(|id| self.0.workspaces.of(&id.user).contains(id));
    }

    /// Answers a request of the public listeners, whatever it is.
    pub async fn handle(&self, connection: &Connection, request: Request<Incoming>) -> Response<Body> {
        let mut seen = self.see(&request);
        let method = request.method().clone();
        let outcome = self.respond(connection, request, &mut seen).await;
        self.conclude(connection, &method, seen, outcome)
    }

    /// Answers a request of a container to its hub.
    pub async fn handle_hub_api(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let seen = Seen { route: "hub-api", ..self.see(&request) };
        let method = request.method().clone();
        let outcome = self.hub_api(connection, request).await;
        self.conclude(connection, &method, seen, outcome)
    }

    async fn respond(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
        seen: &mut Seen,
    ) -> Result<Response<Body>, Refusal> {
        let writing = self.0.tasks.writing();
        let at = head::find_origin(&request, connection, &self.0.hosts)?;
        let at = &*at;
        let head = Head::parse(&request, at)?;
        if let Some(answer) = self.misplaced(&head) {
            seen.route = head.route.label();
            return answer;
        }
        let neighbour = self.neighbour(&head);
        seen.route = if neighbour.is_some() { "beside" } else { head.route.label() };
        // At a host of one provider, who signed in at another is nobody.
        let mut session = match &at.label {
            None => self.0.sessions.find(request.headers()),
            Some(label) => self.0.sessions.find_at(request.headers(), label),
        };
        session = session.filter(|session| at.providers.contains(&session.provider));
        if let Some(found) = session.take_if(|session| !self.0.sessions.is_settled(session)) {
            // Boxed, as below: few requests come here.
            let renewed: BoxFuture<'_, _> = Box::pin(self.renewed(found, &head, neighbour.as_ref()));
            session = renewed.await?;
        }
        // Most requests carry nothing for the hub but a cookie, and need no look further.
        let credential = Credential::find(request.headers())?;
        let caller = if credential == Credential::None {
            session.map(Caller::Session)
        } else {
            seen.html = false;
            let caller: BoxFuture<'_, _> = Box::pin(self.caller(&head, credential, session));
            caller.await?
        };
        seen.caller = caller.as_ref().map(|caller| (caller.name().clone(), caller.kind()));
        if caller.is_none() && head.opens_server_at_users_host() {
            return self.ask_hub(&head, request.headers());
        }
        let visit = self.visit(&head, caller.as_ref());
        let own = self.own_workspace(&head, caller.as_ref());
        let permit = authorize(&head, neighbour.as_ref(), caller, visit, own)?;
        let navigation = head.navigation;
        match permit.target() {
            // Boxed, so that a forwarded request does not carry room for every page of ours.
            Target::Own => {
                let own: BoxFuture<'_, _> = Box::pin(self.own(connection, request, &permit, at, navigation));
                own.await
            }
            Target::Beside => {
                let Some(neighbour) = neighbour else { return Err(Refusal::NotFound) };
                drop(writing);
                let caller = permit.caller();
                let there: BoxFuture<'_, _> =
                    Box::pin(self.beside(connection, at, request, caller, &neighbour));
                there.await
            }
            Target::Workspace { bare } => {
                let (Some(caller), Some(id)) = (permit.caller(), permit.workspace()) else {
                    return Err(Refusal::LoginRequired { next: None });
                };
                drop(writing);
                let (visit, place) = (permit.visit(), Self::place(&head, id.clone(), bare));
                if place.bare && *request.method() == Method::GET {
                    return Ok(slash(&request));
                }
                self.forward(connection, request, (caller, visit), place, navigation).await
            }
        }
    }

    /// What answers a path that is neither the hub's nor a workspace's.
    fn neighbour(&self, head: &Head<'_, '_>) -> Option<Arc<Neighbour>> {
        if head.route != Route::Unknown {
            return None;
        }
        self.0.beside.find(head.target.split('?').next().unwrap_or_default()).cloned()
    }

    /// A session whose standing must be renewed first.
    async fn renewed(
        &self,
        session: Arc<Session>,
        head: &Head<'_, '_>,
        neighbour: Option<&Arc<Neighbour>>,
    ) -> Result<Option<Arc<Session>>, Refusal> {
        match self.0.sessions.renewed(&session).await {
            Renewed::Stands | Renewed::Waits { .. } => Ok(Some(session)),
            Renewed::Ended => Ok(None),
            // Signing out must be possible all the same.
            Renewed::Suspended if !authorize::needs_caller(&head.route, neighbour) => Ok(Some(session)),
            Renewed::Suspended => Err(Refusal::Outage),
        }
    }

    async fn own(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
        permit: &Permit,
        at: &Origin,
        navigation: bool,
    ) -> Result<Response<Body>, Refusal> {
        let path = request.uri().path().to_owned();
        let endpoint = match Route::find(&path) {
            Ok(Route::Own(endpoint)) => endpoint,
            Ok(Route::Workspace { .. } | Route::Unknown) | Err(_) => return Err(Refusal::NotFound),
        };
        match endpoint {
            Endpoint::Login => self.login(&request.into_parts().0, permit, at, navigation).await,
            Endpoint::Enter => self.enter(request, permit, navigation).await,
            Endpoint::Entered => self.entered(&request, at, navigation),
            Endpoint::Callback(_) => self.callback(request, permit).await,
            Endpoint::Logout => self.logout(request, permit, at).await,
            Endpoint::BackchannelLogout => self.backchannel_logout(request).await,
            Endpoint::FrontchannelLogout => self.frontchannel_logout(&request).await,
            Endpoint::Logo => Ok(page::logo()),
            Endpoint::ApiRoot => Ok(jupyterhub::root()),
            Endpoint::ApiAuthorize => self.api_authorize(&request, permit),
            Endpoint::CspReport => Ok(empty(StatusCode::NO_CONTENT)),
            Endpoint::Root => self.root(permit),
            Endpoint::Home => self.home(request, permit).await,
            Endpoint::Spawn(which) => self.spawn(request, permit, which).await,
            Endpoint::HubUser(rest) => self.at_hub(at, &request, permit, rest),
            Endpoint::UserRedirect(rest) => Self::user_redirect(&request, permit, rest),
            Endpoint::Tokens => self.tokens(request, permit, at).await,
            Endpoint::Share => self.share(request, permit, at).await,
            Endpoint::AcceptShare => self.accept_share(request, permit).await,
            Endpoint::Device => self.device(connection, request, permit).await,
            Endpoint::ApiDevice => self.api_device(connection, request, at).await,
            Endpoint::ApiToken => self.api_device_token(request).await,
            Endpoint::Api(path) => self.api(request, permit, at, path).await,
            Endpoint::Health => Ok(empty(StatusCode::OK)),
            Endpoint::Admin => self.admin(request, permit).await,
        }
    }

    fn see<B>(&self, request: &Request<B>) -> Seen {
        let html = head::accepts_html(request.headers());
        Seen {
            // One number a request, not guessable from another hub's.
            id: self.1.request_base.wrapping_add(self.1.requests.fetch_add(1, Ordering::Relaxed)),
            started: Instant::now(),
            route: "none",
            html,
            cuts_openers_off: html && head::cuts_openers_off(request.headers()),
            as_at_jupyterhub: credential::as_at_jupyterhub(request.uri().path(), request.headers()),
            caller: None,
        }
    }

    /// The end of every request: its page if it was refused, its line in the log, its place in the metrics.
    fn conclude(
        &self,
        connection: &Connection,
        method: &Method,
        seen: Seen,
        outcome: Result<Response<Body>, Refusal>,
    ) -> Response<Body> {
        let mut refused = "";
        let mut response = outcome.unwrap_or_else(|refusal| {
            refused = refusal.label();
            self.refuse(&seen, &refusal)
        });
        if seen.cuts_openers_off {
            page::cut_opener_off(response.headers_mut());
        }
        let status = response.status();
        let elapsed = seen.started.elapsed();
        self.0.metrics.requests.get_or_create(&Answer { route: seen.route, status: class(status) }).inc();
        self.0.metrics.request_duration.observe(elapsed.as_secs_f64());
        tracing::info!(
            target: "hubgate::access",
            request = format_args!("{:016x}", seen.id),
            method = method.as_str(),
            route = seen.route,
            user = seen.caller.as_ref().map(|(name, _)| name.as_str()),
            by = seen.caller.as_ref().map(|(_, kind)| kind),
            client = %connection.client.ip(),
            status = status.as_u16(),
            elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            refused,
        );
        response
    }

    fn refuse(&self, seen: &Seen, refusal: &Refusal) -> Response<Body> {
        self.0.metrics.refusals.get_or_create(&Kind { kind: refusal.label() }).inc();
        log_refusal(seen, refusal);
        let unknown = seen.as_at_jupyterhub && refusal.is_of_a_stranger();
        let status = if unknown { StatusCode::FORBIDDEN } else { refusal.status() };
        let mut response = if unknown {
            page::json(status, &refusal.answer(status))
        } else if let Refusal::LoginRequired { next: Some(next) } = refusal {
            to_login(next)
        } else if seen.html && refusal.has_page() {
            self.1.pages.refusal(seen.id, status, refusal)
        } else {
            page::json(status, &refusal.answer(status))
        };
        let headers = response.headers_mut();
        if matches!(refusal, Refusal::LoginRequired { next: None }) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hubgate\""));
        }
        if let Refusal::Program(program) = refusal
            && let Some(challenge) = program.challenge().and_then(|text| HeaderValue::from_str(&text).ok())
        {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Refusal::ApiMethod(resource) = refusal {
            let methods: Vec<_> = resource.methods().iter().map(Method::as_str).collect();
            let methods = HeaderValue::from_str(&methods.join(", "));
            headers.extend(methods.ok().map(|methods| (ALLOW, methods)));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let soon = matches!(refusal, Refusal::Starting { .. } | Refusal::Stopping);
            headers.insert(RETRY_AFTER, HeaderValue::from_static(if soon { "2" } else { "30" }));
        }
        response
    }
}

/// One line for what deserves one, with every cause: the access line says that it happened, this says why.
fn log_refusal(seen: &Seen, refusal: &Refusal) {
    let request = format_args!("{:016x}", seen.id);
    let user = seen.caller.as_ref().map(|(name, _)| name.as_str());
    let error: &dyn std::error::Error = refusal;
    let kind = refusal.label();
    let remedy = refusal.remedy();
    match refusal.level() {
        Level::ERROR => tracing::error!(%request, user, kind, error, remedy, "request refused"),
        Level::WARN => tracing::warn!(%request, user, kind, error, remedy, "request refused"),
        _ => tracing::debug!(%request, user, kind, error, "request refused"),
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Logout tokens that are looked at, at once.
const LOGOUTS: usize = 8;

/// A redirect that is always followed by GET (RFC 9700 section 4.12). What cannot be a header goes to `/`.
fn see_other(location: &str) -> Response<Body> {
    let mut response = empty(StatusCode::SEE_OTHER);
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, location);
    page::never_stored(response.headers_mut());
    response
}

/// On to the login, and back here after it.
fn to_login(next: &LocalPath) -> Response<Body> {
    let next: String = url::form_urlencoded::byte_serialize(next.as_str().as_bytes()).collect();
    see_other(&format!("/hub/login?next={next}"))
}

/// `path` with the query that came.
fn with_query<B>(path: &str, request: &Request<B>) -> String {
    request.uri().query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// The same address with a slash behind the name: relative links of the workspace depend on it.
fn slash<B>(request: &Request<B>) -> Response<Body> {
    see_other(&with_query(&format!("{}/", request.uri().path()), request))
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({})", self.0.hosts.main().origin)
    }
}

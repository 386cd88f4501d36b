//! What is open in an old process, as both ends see it.
//!
//! The new one holds, for each right that something is open on in the old one, the same right of its own: so what ends it
//! here, whatever that is, ends it there, and a session counts as in use as long as a websocket is open for it anywhere.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::link::Link;
use super::words::{FromNew, FromOld, Granted, Line, Place, Whose};
use crate::app::App;
use crate::clock::{Clock, Timestamp};
use crate::forward::{Hold, Lifeline};
use crate::gateway::Gateway;
use crate::logging::cause;
use crate::session::Sessions;
use crate::share::Shares;
use crate::spawner::WorkspaceId;
use crate::token::{ApiTokens, TokenId};
use crate::user::User;
use crate::workspace::{State, Workspaces};

/// Those who know which rights there are; a clone is another handle.
#[derive(Clone)]
pub(crate) struct Rights {
    sessions: Sessions,
    api_tokens: ApiTokens,
    shares: Shares,
    workspaces: Workspaces,
    gateway: Gateway,
    clock: Clock,
}

impl Rights {
    pub(crate) fn of(app: &App) -> Self {
        Self {
            sessions: app.sessions.clone(),
            api_tokens: app.api_tokens.clone(),
            shares: app.shares.clone(),
            workspaces: app.workspaces.clone(),
            gateway: app.gateway.clone(),
            clock: app.clock.clone(),
        }
    }

    /// What the line hangs on here; `None`: the right to it is gone, or is less than it was.
    fn find(&self, line: &Line) -> Option<Arc<Lifeline>> {
        let (user, lifeline) = match &line.whose {
            Whose::Session(id) => {
                let standing = self.sessions.by_id(id)?.standing();
                (standing.user.clone(), Arc::clone(&standing.lifeline))
            }
            Whose::Token(id) => {
                let token = self.api_tokens.called(TokenId::parse(id)?)?;
                let lifeline = token.lifeline();
                (token.owner.right().user.clone(), lifeline)
            }
            Whose::Everybody(route) => {
                let public = self.gateway.public_routes().find(|(name, _)| name == route);
                return public.map(|(_, lifeline)| lifeline);
            }
        };
        if self.with_public(&user).has_less_than(&line.granted.as_ref()?.user()?) {
            return None;
        }
        match &line.visit {
            None => Some(lifeline),
            Some(place) => self.shares.find(&place.id()?, &user)?.lifeline(&lifeline),
        }
    }

    /// Somebody with all that they may do: what is public is theirs, too, and may be no more.
    fn with_public(&self, user: &User) -> User {
        let public = self.gateway.public_routes().map(|(route, _)| route);
        User { routes: user.routes.iter().cloned().chain(public).collect(), ..user.clone() }
    }
}

/// What is open here, told to whoever has taken over.
#[derive(Default)]
pub(crate) struct Told {
    next: u32,
    lines: HashMap<u32, Open>,
    used: HashMap<WorkspaceId, Timestamp>,
}

struct Open {
    lifeline: Arc<Lifeline>,
    open: usize,
}

impl Told {
    /// What is new since the last time: of each right that something is open on, how much.
    pub(crate) fn news(&mut self, rights: &Rights) -> Vec<FromOld> {
        let mut news = Vec::new();
        let visits = rights.shares.open();
        let known: HashSet<usize> = self.lines.values().map(|line| address(&line.lifeline)).collect();
        let known = |line: &Arc<Lifeline>| known.contains(&address(line));
        for session in rights.sessions.everyone() {
            let standing = session.standing();
            let granted = || Some(Granted::of(&rights.with_public(&standing.user)));
            let whose = Whose::Session(session.id);
            news.extend(self.tell((whose, granted), &standing.lifeline, &visits, known));
        }
        // One that has just expired, too: it is the other process that ends what hangs on it.
        for token in rights.api_tokens.everyone() {
            let granted = || Some(Granted::of(&rights.with_public(&token.owner.right().user)));
            let whose = Whose::token(token.id);
            news.extend(self.tell((whose, granted), &token.lifeline(), &visits, known));
        }
        for (route, lifeline) in rights.gateway.public_routes() {
            news.extend(self.tell((Whose::Everybody(route), || None), &lifeline, &[], known));
        }
        self.lines.retain(|number, line| {
            let open = own(&line.lifeline, &visits);
            if open != line.open {
                line.open = open;
                news.push(FromOld::Open { number: *number, open });
            }
            open > 0
        });
        news
    }

    fn tell(
        &mut self,
        (whose, granted): (Whose, impl Fn() -> Option<Granted>),
        lifeline: &Arc<Lifeline>,
        visits: &[(WorkspaceId, Arc<Lifeline>)],
        known: impl Fn(&Arc<Lifeline>) -> bool,
    ) -> Vec<FromOld> {
        let mut news = Vec::new();
        if lifeline.open() == 0 {
            return news;
        }
        let within = visits.iter().filter(|(_, line)| line.is_within(lifeline));
        let within = within.map(|(id, line)| (Some(Place::of(id)), line));
        for (visit, lifeline) in within.chain([(None, lifeline)]) {
            let open = own(lifeline, visits);
            if known(lifeline) || open == 0 || lifeline.ended().is_cancelled() {
                continue;
            }
            self.next += 1;
            let (number, granted) = (self.next, granted());
            self.lines.insert(number, Open { lifeline: Arc::clone(lifeline), open });
            news.push(FromOld::Line(Line { number, whose: whose.clone(), visit, granted, open }));
        }
        news
    }

    /// Which workspaces were used since the last time.
    pub(crate) fn used(&mut self, rights: &Rights) -> Vec<FromOld> {
        let ready = rights.workspaces.all().into_iter().filter_map(|(id, state)| match state {
            State::Ready(ready) => Some((id, ready.activity.last())),
            State::Starting(_) | State::Failing(_) | State::Stopping => None,
        });
        let moved = ready.filter(|(id, when)| self.used.get(id).is_none_or(|before| before < when));
        let moved: Vec<_> = moved.collect();
        let tell =
            |(id, when): &(WorkspaceId, Timestamp)| FromOld::Used { place: Place::of(id), when: *when };
        let news = moved.iter().map(tell).collect();
        self.used.extend(moved);
        news
    }

    /// The right has ended.
    pub(crate) fn cut(&self, number: u32) {
        if let Some(line) = self.lines.get(&number) {
            line.lifeline.cut();
        }
    }
}

/// Its own as long as somebody holds it.
fn address(lifeline: &Arc<Lifeline>) -> usize {
    Arc::as_ptr(lifeline).addr()
}

/// What is open on a lifeline itself, and on none that is within it.
fn own(lifeline: &Arc<Lifeline>, visits: &[(WorkspaceId, Arc<Lifeline>)]) -> usize {
    let within = visits.iter().filter(|(_, line)| line.is_within(lifeline));
    lifeline.open().saturating_sub(within.map(|(_, line)| line.open()).sum())
}

/// The process that this one has taken over from, as long as something is open there.
pub(crate) struct Before {
    /// Says that yet another process takes over.
    aged: mpsc::Sender<()>,
    gone: CancellationToken,
}

impl Before {
    /// Follows what it has open, to its end or this one's.
    pub(crate) fn follow(app: &App, link: Link<FromOld>) -> Self {
        let (aged, orders) = mpsc::channel(1);
        let gone = CancellationToken::new();
        let (rights, stopping, guard) = (Rights::of(app), app.tasks.stopping(), gone.clone().drop_guard());
        app.tasks.spawn(async move {
            let _guard = guard;
            let held = Held { rights, link, lines: HashMap::new(), ends: FuturesUnordered::new() };
            stopping.run_until_cancelled(held.follow(orders)).await;
        });
        Self { aged, gone }
    }

    pub(crate) async fn age(&self) {
        if self.aged.send(()).await.is_err() {
            debug!("the hubgate from before has ended: it is not older for it");
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }
}

/// Rights of this process that something is open on in the old one.
struct Held {
    rights: Rights,
    link: Link<FromOld>,
    lines: HashMap<u32, HeldLine>,
    ends: FuturesUnordered<BoxFuture<'static, u32>>,
}

/// As many as are open there.
struct HeldLine {
    lifeline: Arc<Lifeline>,
    holds: Vec<Hold>,
    /// The wait for its end is over with it.
    over: CancellationToken,
}

impl Held {
    async fn follow(mut self, mut orders: mpsc::Receiver<()>) {
        loop {
            let answer = tokio::select! {
                said = self.link.next() => match said {
                    Some(said) => self.hear(said),
                    None => return debug!("the hubgate from before has ended"),
                },
                Some(number) = self.ends.next(), if !self.ends.is_empty() => self.end(number),
                Some(()) = orders.recv() => Some(FromNew::Aged),
            };
            let Some(answer) = answer else { continue };
            if let Err(error) = self.link.send(&answer).await {
                // It hears no more which rights end, and sees that the link does.
                return warn!(error = cause(&error), "the hubgate from before is let go");
            }
        }
    }

    fn hear(&mut self, said: FromOld) -> Option<FromNew> {
        match said {
            FromOld::Line(line) => self.hold(&line),
            FromOld::Open { number, open: 0 } => {
                let line = self.lines.remove(&number)?;
                line.over.cancel();
                None
            }
            FromOld::Open { number, open } => {
                self.lines.get_mut(&number)?.set(open);
                None
            }
            FromOld::Used { place, when } => {
                let when = when.min(self.rights.clock.now());
                self.rights.workspaces.note_activity(&place.id()?, when);
                None
            }
            FromOld::Go | FromOld::Main => None,
        }
    }

    fn hold(&mut self, line: &Line) -> Option<FromNew> {
        let number = line.number;
        let found = self.rights.find(line).filter(|_| self.lines.len() < MOST);
        let Some(lifeline) = found else { return Some(FromNew::Cut { number }) };
        let over = CancellationToken::new();
        let (ended, gone) = (lifeline.ended().clone(), over.clone());
        self.ends.push(Box::pin(async move {
            tokio::select! { () = ended.cancelled() => {}, () = gone.cancelled() => {} }
            number
        }));
        let mut held = HeldLine { lifeline, holds: Vec::new(), over };
        held.set(line.open);
        self.lines.insert(number, held);
        None
    }

    fn end(&mut self, number: u32) -> Option<FromNew> {
        let cut = self.lines.remove(&number).is_some();
        cut.then_some(FromNew::Cut { number })
    }
}

impl HeldLine {
    fn set(&mut self, open: usize) {
        let lifeline = &self.lifeline;
        self.holds.resize_with(open.min(MOST), || lifeline.hold());
    }
}

/// More than a process has connections.
const MOST: usize = 65_536;

//! Renewing what sessions may do, by the provider's word: one renewal at a time for each session, its result shared by
//! all who wait for it.
//!
//! Two at once would not only be a waste: a provider that rotates refresh tokens takes the second use of one for theft,
//! and ends the session (RFC 9700 section 4.14.2).

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::{News, Session, Sessions};
use crate::clock::Timestamp;
use crate::identity::Identity;
use crate::logging::cause;
use crate::metrics::Outcome;
use crate::oidc::{OidcError, Tokens};

/// How a session is after it was to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// It stands as the provider says now.
    Stands,
    /// It is over.
    Ended,
    /// The provider cannot be asked: it stands as before, until then.
    Waits {
        /// The end of `session.outage_grace`.
        until: Timestamp,
    },
    /// The provider could not be asked for all of `session.outage_grace`: nothing is done in its name until it can.
    Suspended,
}

/// A renewal that is under way.
pub(super) type Flight = watch::Receiver<Option<Renewed>>;

impl Sessions {
    /// Whether nothing is to be asked about a session before a request goes on: see [`Sessions::renewed`].
    pub fn is_settled(&self, session: &Session) -> bool {
        session.trouble.load(Ordering::Relaxed) == 0 && !self.is_due(session)
    }

    fn is_due(&self, session: &Session) -> bool {
        session.due.load(Ordering::Relaxed) <= self.0.clock.now()
    }

    /// Renews a session that is due, or waits for the renewal that is under way. Whoever stops waiting stops nothing:
    /// a refresh token that was sent and whose answer is lost would be the end of the session.
    ///
    /// While the provider is in trouble nobody waits for it: the next attempt goes on beside the requests.
    pub async fn renewed(&self, session: &Arc<Session>) -> Renewed {
        let in_trouble = session.trouble.load(Ordering::Relaxed) != 0;
        let Some(mut flight) = self.board(session) else { return self.outcome(session) };
        if in_trouble {
            return self.outcome(session);
        }
        match flight.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.unwrap_or(Renewed::Ended),
            // The process stops.
            Err(_closed) => self.outcome(session),
        }
    }

    /// To be called every second or so: renews the sessions that are due and in use, so that what is open for one ends
    /// with the right to it. A browser that is away keeps no session alive at the provider: it is renewed when it
    /// comes back.
    pub fn renew_due(&self) {
        let now = self.0.clock.now();
        for session in &self.0.live {
            self.mind_not_before(&session);
            let last_seen = session.last_seen.load(Ordering::Relaxed);
            let in_use = session.standing().lifeline.open() > 0
                || last_seen.saturating_add(self.0.refresh_interval) >= now;
            if in_use && session.due.load(Ordering::Relaxed) <= now {
                // Nobody waits for it here.
                drop(self.board(&session));
            }
        }
    }

    /// Keycloak's "not before": what was issued earlier counts no more, so it is renewed at once, or ends.
    fn mind_not_before(&self, session: &Session) {
        let Some(provider) = self.0.providers.find(&session.provider) else { return };
        let standing = session.standing();
        // By whichever clock: what is renewed now is not renewed again for it.
        let not_before = provider.not_before().min(self.0.clock.now());
        if standing.tokens.issued.is_some_and(|issued| issued < not_before)
            && session.trouble.load(Ordering::Relaxed) == 0
        {
            session.due.store(0, Ordering::Relaxed);
        }
    }

    /// The renewal that is under way; else a new one, if the session is due.
    fn board(&self, session: &Arc<Session>) -> Option<Flight> {
        let mut flight = session.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = &*flight {
            return Some(flight.clone());
        }
        if !self.is_due(session) {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        *flight = Some(receiver.clone());
        let (sessions, session) = (self.clone(), Arc::clone(session));
        let writing = self.0.tasks.writing();
        self.0.tasks.spawn(async move {
            let _writing = writing;
            let outcome = Box::pin(sessions.renew(&session)).await;
            *session.flight.lock().unwrap_or_else(PoisonError::into_inner) = None;
            sender.send_replace(Some(outcome));
        });
        Some(receiver)
    }

    /// Until when a session goes on although its provider cannot be asked; `None`: it can.
    pub fn outage(&self, session: &Session) -> Option<Timestamp> {
        match self.outcome(session) {
            Renewed::Waits { until } => Some(until),
            Renewed::Stands | Renewed::Ended | Renewed::Suspended => None,
        }
    }

    /// How a session is, as far as it is known without asking anybody.
    fn outcome(&self, session: &Session) -> Renewed {
        if session.ended.is_cancelled() {
            return Renewed::Ended;
        }
        match session.trouble.load(Ordering::Relaxed) {
            0 => Renewed::Stands,
            since => {
                let until = since.saturating_add(self.0.outage_grace);
                if self.0.clock.now() < until { Renewed::Waits { until } } else { Renewed::Suspended }
            }
        }
    }

    async fn renew(&self, session: &Arc<Session>) -> Renewed {
        let _turn = self.0.renewals.acquire().await;
        let standing = session.standing();
        let Some(provider) = self.0.providers.find(&session.provider) else {
            return self.over(session, "its provider is configured no more").await;
        };
        if standing.tokens.refresh_token.is_none() {
            // There is nothing to ask with: it stands until it is over.
            session.due.store(Timestamp::MAX, Ordering::Relaxed);
            return Renewed::Stands;
        }
        let result = provider.refresh(&standing.identity, &standing.tokens).await;
        let label = result.as_ref().map_or_else(OidcError::kind, |_| "ok");
        self.0.metrics.renewals.get_or_create(&Outcome { result: label }).inc();
        if session.ended.is_cancelled() {
            return Renewed::Ended;
        }
        match result {
            Ok((identity, tokens)) => self.take_over(session, identity, tokens).await,
            Err(OidcError::Refused { error, description }) if error == "invalid_grant" => {
                let why = description.unwrap_or_default();
                if why == DISABLED {
                    // Their API tokens must not outlive what their sessions do not.
                    let news = News::Judged(&session.provider, &standing.identity, None);
                    (self.0.tell)(&session.name, news);
                    (self.0.tell)(&session.name, News::Less);
                }
                info!(event = "session_over", user = %session.name, why, "the provider has ended a session");
                self.end_logged(session).await
            }
            // Whatever it says, it is not about this person, or not the provider's.
            Err(error @ OidcError::Untrusted { .. }) => {
                let remedy = error.remedy();
                warn!(event = "session_over", user = %session.name, error = cause(&error), remedy, "a session cannot be renewed");
                self.end_logged(session).await
            }
            Err(OidcError::Interrupted { tokens, source }) => {
                // The old ones may count no more: whatever comes, these must not be lost.
                let standing = session.standing();
                session.stand(standing.user.clone(), standing.identity.clone(), *tokens);
                self.write_down(session).await;
                self.suffer(session, &source)
            }
            Err(error) => self.suffer(session, &error),
        }
    }

    /// What the provider says now takes the place of what it said before; nothing of that is kept.
    async fn take_over(&self, session: &Arc<Session>, mut identity: Identity, tokens: Tokens) -> Renewed {
        let user = (self.0.judge)(&session.provider, &identity, &session.name);
        (self.0.tell)(&session.name, News::Judged(&session.provider, &identity, user.as_ref()));
        if user.as_ref().is_none_or(|user| user.has_less_than(&session.standing().user)) {
            (self.0.tell)(&session.name, News::Less);
        }
        let Some(user) = user else {
            return self.over(session, "the user may not enter any more").await;
        };
        identity.sid = identity.sid.or_else(|| session.standing().identity.sid.clone());
        session.due.store(self.due(&tokens), Ordering::Relaxed);
        if session.trouble.swap(0, Ordering::Relaxed) != 0 {
            info!(event = "provider_back", user = %session.name, "a session is renewed again");
        }
        session.stand(user, identity, tokens);
        self.tell_token(session);
        // Whoever ended it meanwhile has told theirs already, and this one is of a session that is over.
        if session.ended.is_cancelled() {
            self.tell_newest_token(&session.name);
            return Renewed::Ended;
        }
        self.write_down(session).await;
        Renewed::Stands
    }

    /// A row that is older than its session costs a login after a restart, no more.
    async fn write_down(&self, session: &Session) {
        let sealed = self.sealed(session);
        let sid = session.standing().identity.sid.clone();
        if let Err(error) = self.0.store.update_session(&session.id, sid.as_deref(), &sealed).await {
            error!(error = cause(&error), "cannot write down a renewed session");
        }
    }

    /// The provider is in trouble, or its settings are.
    fn suffer(&self, session: &Session, error: &OidcError) -> Renewed {
        let now = self.0.clock.now();
        let first = session.trouble.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
        let since = first.map_or_else(|since| since, |_none| now);
        // As long again as it has lasted: soon at first, then seldom.
        let pause = now.saturating_sub(since).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        session.due.store(now.saturating_add(pause), Ordering::Relaxed);
        if first.is_ok() {
            let remedy = error.remedy();
            warn!(event = "provider_trouble", user = %session.name, error = cause(error), remedy, "a session cannot be renewed: it goes on as it is");
        } else {
            debug!(event = "provider_trouble", user = %session.name, error = cause(error), pause, "a session still cannot be renewed");
        }
        let outcome = self.outcome(session);
        if outcome == Renewed::Suspended {
            session.interrupt();
        }
        outcome
    }

    async fn over(&self, session: &Session, why: &'static str) -> Renewed {
        info!(event = "session_over", user = %session.name, why, "a session is over");
        self.end_logged(session).await
    }

    async fn end_logged(&self, session: &Session) -> Renewed {
        if let Err(error) = self.end(session).await {
            error!(error = cause(&error), "cannot delete a session that is over; it is tried again");
        }
        Renewed::Ended
    }

    /// When what these tokens say is to be renewed: well before the first of them expires.
    pub(super) fn due(&self, tokens: &Tokens) -> Timestamp {
        if tokens.refresh_token.is_none() {
            return Timestamp::MAX;
        }
        let now = self.0.clock.now();
        let lifetimes = [tokens.expires, tokens.refresh_expires].into_iter().flatten();
        let left = lifetimes.map(|expires| expires.saturating_sub(now) / 5 * 4).min();
        let wait = left.map_or(self.0.refresh_interval, |left| left.clamp(1, self.0.refresh_interval));
        now.saturating_add(wait)
    }
}

/// What Keycloak says of a user whom it knows and lets in no more.
const DISABLED: &str = "User disabled";

/// Seconds between two attempts at a provider that is in trouble.
const SHORTEST_PAUSE: u64 = 5;
const LONGEST_PAUSE: u64 = 60;

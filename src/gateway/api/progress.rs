//! How a start goes, told as it goes: an event stream in JupyterHub's form.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::access::WATCH;
use super::wrong;
use crate::forward::Hold;
use crate::gateway::caller::Caller;
use crate::gateway::page::never_stored;
use crate::gateway::refusal::Refusal;
use crate::gateway::{Body, Gateway};
use crate::spawner::{Phase, Pulled, WorkspaceId};
use crate::workspace::State;

/// A start that somebody watches.
struct Watched {
    gateway: Gateway,
    id: WorkspaceId,
    title: String,
    phase: watch::Receiver<Phase>,
    /// The start itself.
    cancelled: CancellationToken,
    /// The caller's right to watch.
    ended: CancellationToken,
    resting: CancellationToken,
    _hold: Hold,
    /// Not before then is the next event sent: some phases change many times a second.
    next: Instant,
    turn: Turn,
    /// Percent that were told: it may turn out that there is more to do, but nobody's bar goes back.
    told: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing was said yet.
    First,
    Following,
    /// The last word was said.
    Over,
}

impl Gateway {
    /// `…/progress`. 400: it does not start, and has not failed to.
    pub(super) async fn api_progress<B: Sync>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        id: &WorkspaceId,
    ) -> Result<Response<Body>, Refusal> {
        self.allow(caller, (&id.user, Some(&id.server)), &WATCH, request).await?;
        self.check_there(caller, id).await?;
        let starting = match self.0.workspaces.state(id) {
            Some(State::Starting(starting)) => starting,
            Some(State::Stopping) | None => {
                return Ok(wrong(&format!("{id} is not starting...")));
            }
            state @ Some(State::Ready(_) | State::Failing(_)) => {
                let last = event(&self.outcome(id, state));
                return Ok(answer(stream::once(std::future::ready(last)).boxed()));
            }
        };
        let lifeline = caller.rights().lifeline;
        let watched = Watched {
            gateway: self.clone(),
            id: id.clone(),
            title: self.title(&starting.profile),
            phase: starting.phase,
            cancelled: starting.cancelled,
            ended: lifeline.ended().clone(),
            resting: self.0.tasks.turn().resting,
            _hold: lifeline.hold(),
            next: Instant::now(),
            turn: Turn::First,
            told: 0,
        };
        Ok(answer(stream::unfold(watched, Watched::follow).boxed()))
    }

    /// The last event of a start that has come to this.
    fn outcome(&self, id: &WorkspaceId, state: Option<State>) -> Value {
        let failed = |what: &str| failed(&format!("Spawn failed: {what}"));
        match state {
            Some(State::Ready(_)) => {
                let url = self.address_of(id);
                json!({
                    "progress": 100, "ready": true, "url": url, "message": format!("Server ready at {url}"),
                    "html_message": format!("Server ready at <a href=\"{url}\">{url}</a>"),
                })
            }
            Some(State::Failing(failure)) if failure.is_cancelled() => cancelled(),
            Some(State::Failing(failure)) => {
                let image = self.0.workspaces.profile(&failure.profile).map(|profile| profile.image.clone());
                let refusal = Refusal::Failing { failure, image: image.unwrap_or_default() };
                failed(&refusal.words().what)
            }
            Some(State::Starting(_) | State::Stopping) | None => failed("it was stopped."),
        }
    }
}

impl Watched {
    /// The next words, and who goes on watching.
    async fn follow(mut self) -> Option<(Bytes, Self)> {
        let (ended, resting) = (self.ended.clone(), self.resting.clone());
        let words = tokio::select! {
            biased;
            () = ended.cancelled() => None,
            () = resting.cancelled() => None,
            words = self.words() => words,
        };
        words.map(|words| (words, self))
    }

    async fn words(&mut self) -> Option<Bytes> {
        match self.turn {
            Turn::Over => return None,
            Turn::First => {
                self.turn = Turn::Following;
                return Some(self.now());
            }
            Turn::Following => {}
        }
        let cancelled = self.cancelled.clone();
        tokio::select! {
            () = sleep_until(self.next) => {}
            () = cancelled.cancelled() => return Some(self.over()),
        }
        tokio::select! {
            // What there is of it is taken away still: nobody waits for that.
            () = cancelled.cancelled() => Some(self.over()),
            changed = self.phase.changed() => match changed {
                Ok(()) => Some(self.now()),
                // Whoever started it is done.
                Err(_done) => Some(self.done()),
            },
            () = sleep(KEEP_ALIVE) => Some(Bytes::from_static(b":\n\n")),
        }
    }

    fn now(&mut self) -> Bytes {
        self.next = Instant::now() + PAUSE;
        let phase = self.phase.borrow_and_update().clone();
        self.told = self.told.max(progress(&phase));
        let progress = self.told;
        let words = Refusal::Starting { phase, title: self.title.clone(), offers: Vec::new() }.words();
        event(&json!({ "progress": progress, "message": words.what }))
    }

    fn over(&mut self) -> Bytes {
        self.turn = Turn::Over;
        event(&cancelled())
    }

    fn done(&mut self) -> Bytes {
        self.turn = Turn::Over;
        let state = self.gateway.0.workspaces.state(&self.id);
        event(&self.gateway.outcome(&self.id, state))
    }
}

fn failed(message: &str) -> Value {
    json!({ "progress": 100, "failed": true, "message": message })
}

/// In JupyterHub's words.
fn cancelled() -> Value {
    failed("Spawn cancelled")
}

fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn answer(events: BoxStream<'static, Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::events(events));
    never_stored(response.headers_mut());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// Percent of a start, as far as it can be told.
fn progress(phase: &Phase) -> u64 {
    match phase {
        Phase::Waiting => 0,
        Phase::Pulling(pulled) => {
            let Pulled { done, total, layers, fetched, unpacked } = *pulled;
            let layers = count(layers);
            let fetched =
                total.map_or_else(|| part(count(fetched), layers, 40), |total| part(done, total, 40));
            10 + fetched + part(count(unpacked), layers, 20)
        }
        Phase::Creating => 70,
        Phase::Booting => 80,
    }
}

fn part(done: u64, of: u64, percent: u64) -> u64 {
    done.min(of).saturating_mul(percent).checked_div(of).unwrap_or(0)
}

fn count(layers: usize) -> u64 {
    u64::try_from(layers).unwrap_or(u64::MAX)
}

/// So often something is sent, lest somebody in between takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// Between two events.
const PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_only_grows() {
        let phases = [
            Phase::Waiting,
            Phase::Pulling(Pulled::default()),
            Phase::Pulling(Pulled { done: 5, total: None, layers: 4, fetched: 1, unpacked: 0 }),
            Phase::Pulling(Pulled { done: 5, total: Some(10), layers: 4, fetched: 1, unpacked: 0 }),
            Phase::Pulling(Pulled { done: 20, total: Some(10), layers: 4, fetched: 4, unpacked: 2 }),
            Phase::Creating,
            Phase::Booting,
        ];
        let told: Vec<_> = phases.iter().map(progress).collect();
        assert_eq!(told, [0, 10, 20, 30, 60, 70, 80]);
        let all = u64::MAX / 60;
        let most = Pulled { done: all, total: Some(all), layers: 1, fetched: 1, unpacked: 1 };
        assert_eq!(progress(&Phase::Pulling(most)), 70);
    }
}

//! Logins that lead nowhere: a browser that is signed in and comes back signed out would go round for ever.

use std::time::Duration;

use http::header::{HeaderMap, SET_COOKIE};
use serde::{Deserialize, Serialize};

use super::Gateway;
use super::refusal::Refusal;
use crate::clock::Timestamp;
use crate::cookies;

/// Logins of one browser that were finished a moment ago.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rounds {
    finished: u32,
    last: Timestamp,
}

impl Gateway {
    /// Whoever has finished so many logins just now and is not signed in goes no further round.
    pub(super) fn check_rounds(&self, request: &HeaderMap) -> Result<(), Refusal> {
        if self.rounds(request).finished < MOST {
            return Ok(());
        }
        Err(Refusal::LoginLoop { twice: cookies::doubled(request, &[cookies::SESSION]) })
    }

    /// The same at a user's own host, where a browser comes back by itself. Of two cookies of one name, neither counts: some
    /// page of another host of this domain has set the second (RFC 6265bis section 5.8.3), and no round would change that.
    pub(super) fn check_rounds_at_host(&self, request: &HeaderMap) -> Result<(), Refusal> {
        if cookies::doubled(request, &[cookies::SESSION, cookies::ENTRY, cookies::ROUNDS]) {
            return Err(Refusal::LoginLoop { twice: true });
        }
        self.check_rounds(request)
    }

    /// One more login is finished.
    pub(super) fn count_round(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let rounds = Rounds { finished: self.rounds(request).finished + 1, last: self.0.clock.now() };
        let plain = serde_json::to_vec(&rounds).unwrap_or_default();
        let sealed = self.0.sealer.seal(cookies::ROUNDS, &plain);
        // It must be there when the next answer comes, be it by a form of the provider's.
        let cookie = cookies::set_for_posts(cookies::ROUNDS, &sealed, Some(Duration::from_secs(SOON)));
        response.append(SET_COOKIE, cookie);
    }

    fn rounds(&self, request: &HeaderMap) -> Rounds {
        let sealed = cookies::find(request, cookies::ROUNDS);
        let plain = sealed.and_then(|sealed| self.0.sealer.open(cookies::ROUNDS, sealed));
        let rounds: Rounds = plain.and_then(|plain| serde_json::from_slice(&plain).ok()).unwrap_or_default();
        let age = self.0.clock.now().saturating_sub(rounds.last);
        if age <= SOON { rounds } else { Rounds::default() }
    }
}

/// Rounds that are no accident.
const MOST: u32 = 3;

/// Seconds in which one round follows another where nobody types anything.
const SOON: u64 = 60;

//! Signing programs in that have no browser (RFC 8628): a program shows a code, and a person confirms it in theirs.
//!
//! What is asked and not yet answered is in memory only, and bounded: anybody may ask.

mod guesses;
mod user_code;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::Scopes;
use crate::clock::{Clock, Timestamp};
use crate::seal;
use crate::secret::Secret;

pub use guesses::Guesser;
pub use user_code::UserCode;

use guesses::Guesses;

/// What a program calls itself: shown to whoever is asked to confirm it, and believed by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLabel(String);

/// What a program asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it calls itself.
    pub client: ClientLabel,
    /// What it wants to do.
    pub scopes: Scopes,
    /// Where it asked from.
    pub address: IpAddr,
}

/// What a program is told.
#[derive(Debug)]
pub struct Begun {
    /// Its own: it asks with it how things stand.
    pub device_code: Secret,
    /// For the person.
    pub user_code: UserCode,
}

/// What a person said. The session answers for it until the program has its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Allow {
        /// The session in which it was said.
        session: [u8; 32],
    },
    /// No.
    Deny,
}

/// How things stand with a device code.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has answered yet.
    Pending,
    /// The same, and the program asks too often.
    SlowDown,
    /// Somebody said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// There is no such code, or it was used.
    Unknown,
    /// Somebody said yes. This is told once.
    Allowed {
        /// The session in which it was said.
        session: [u8; 32],
        /// What was asked for.
        asked: Asked,
    },
}

/// A login that cannot begin, or a code that is not looked at.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// Too many are waiting, of all or of this client.
    #[error("too many device logins are waiting")]
    Busy,
    /// Too many codes were tried that are none.
    #[error("too many wrong codes were tried")]
    Guessing,
}

/// All device logins; a clone is another handle.
#[derive(Clone)]
pub struct DeviceLogins(Arc<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    guesses: Mutex<Guesses>,
    clock: Clock,
}

#[derive(Default)]
struct Waiting {
    /// By the SHA-256 of the device code.
    logins: HashMap<[u8; 32], Login>,
    /// Which one a user code means.
    codes: HashMap<UserCode, [u8; 32]>,
}

struct Login {
    user_code: UserCode,
    asked: Asked,
    answer: Option<Answer>,
    begun: Timestamp,
    polled: Option<Timestamp>,
    interval: u64,
}

impl DeviceLogins {
    /// How long a person may take, in seconds.
    pub const LIFETIME: u64 = 600;

    /// How long a program waits between two questions, in seconds.
    pub const INTERVAL: u64 = 5;

    /// At most so many wait.
    pub const MOST: usize = 4096;

    /// At most so many of one client: many people may sit behind one address.
    pub const MOST_PER_CLIENT: usize = 20;

    /// None.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { waiting: Mutex::default(), guesses: Mutex::default(), clock }))
    }

    /// A program asks.
    pub fn begin(&self, asked: Asked) -> Result<Begun, DeviceError> {
        let mut waiting = self.waiting();
        let client = network(asked.address);
        // What was answered, or has expired, waits for its program only.
        let now = self.0.clock.now();
        let open = waiting.logins.values().filter(|login| login.is_open(now));
        let theirs = open.filter(|login| network(login.asked.address) == client).count();
        if waiting.logins.len() >= Self::MOST || theirs >= Self::MOST_PER_CLIENT {
            return Err(DeviceError::Busy);
        }
        let device_code = Secret::new(seal::random_text::<32>());
        let hash = seal::sha256(device_code.expose().as_bytes());
        let user_code = std::iter::repeat_with(UserCode::random)
            .find(|code| !waiting.codes.contains_key(code))
            .ok_or(DeviceError::Busy)?;
        waiting.codes.insert(user_code.clone(), hash);
        let login = Login {
            user_code: user_code.clone(),
            asked,
            answer: None,
            begun: now,
            polled: None,
            interval: Self::INTERVAL,
        };
        waiting.logins.insert(hash, login);
        Ok(Begun { device_code, user_code })
    }

    /// What is asked with a user code, for whoever typed it. `None`: nothing is. Wrong codes are counted, and whoever
    /// tried too many is not told about right ones either.
    pub fn look(&self, code: &str, by: Guesser) -> Result<Option<(UserCode, Asked)>, DeviceError> {
        let now = self.0.clock.now();
        let mut guesses = self.0.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        if !guesses.may_try(by, now) {
            return Err(DeviceError::Guessing);
        }
        let waiting = self.waiting();
        let found = UserCode::parse(code)
            .and_then(|code| Some((code.clone(), waiting.logins.get(waiting.codes.get(&code)?)?)))
            .filter(|(_, login)| login.is_open(now))
            .map(|(code, login)| (code, login.asked.clone()));
        if found.is_none() {
            guesses.note_wrong(by, now);
        }
        Ok(found)
    }

    /// A person answers. `None`: nothing is asked with this code any more. The first answer holds.
    pub fn answer(&self, code: &UserCode, answer: Answer) -> Option<Asked> {
        let now = self.0.clock.now();
        let mut waiting = self.waiting();
        let hash = *waiting.codes.get(code)?;
        let login = waiting.logins.get_mut(&hash).filter(|login| login.is_open(now))?;
        login.answer = Some(answer);
        Some(login.asked.clone())
    }

    /// The program asks how things stand. An answer is told once, and the code is used up with it.
    pub fn poll(&self, device_code: &str, client: &ClientLabel) -> Verdict {
        let now = self.0.clock.now();
        let hash = seal::sha256(device_code.as_bytes());
        let mut waiting = self.waiting();
        let Some(login) = waiting.logins.get_mut(&hash).filter(|login| login.asked.client == *client) else {
            return Verdict::Unknown;
        };
        if login.is_over(now) {
            waiting.remove(&hash);
            return Verdict::Expired;
        }
        match login.answer {
            None => login.wait(now),
            Some(answer) => {
                let asked = login.asked.clone();
                waiting.remove(&hash);
                match answer {
                    Answer::Deny => Verdict::Denied,
                    Answer::Allow { session } => Verdict::Allowed { session, asked },
                }
            }
        }
    }

    /// What waits, without what is long over. What has just expired is kept as long again, so that its program is told.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        let now = self.0.clock.now();
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |login: &Login| now >= login.begun + 2 * Self::LIFETIME;
        if waiting.logins.values().any(gone) {
            let Waiting { logins, codes } = &mut *waiting;
            logins.retain(|_, login| !gone(login));
            codes.retain(|_, hash| logins.contains_key(hash));
        }
        waiting
    }
}

impl Waiting {
    fn remove(&mut self, hash: &[u8; 32]) {
        if let Some(login) = self.logins.remove(hash) {
            self.codes.remove(&login.user_code);
        }
    }
}

impl Login {
    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.begun + DeviceLogins::LIFETIME
    }

    fn is_open(&self, now: Timestamp) -> bool {
        self.answer.is_none() && !self.is_over(now)
    }

    /// RFC 8628 section 3.5: whoever asks too soon waits five seconds longer from then on.
    fn wait(&mut self, now: Timestamp) -> Verdict {
        let soon = self.polled.is_some_and(|polled| now < polled + self.interval);
        self.polled = Some(now);
        if soon {
            self.interval += DeviceLogins::INTERVAL;
            return Verdict::SlowDown;
        }
        Verdict::Pending
    }
}

impl ClientLabel {
    /// The longest, in characters.
    pub const MAX_CHARACTERS: usize = 64;

    /// Refuses what is empty, long, or could pose as a part of the page.
    pub fn parse(text: &str) -> Option<Self> {
        let plain =
            |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '@' | '+' | '/' | '(' | ')');
        let good = !text.trim().is_empty()
            && text.chars().count() <= Self::MAX_CHARACTERS
            && text.chars().all(plain);
        good.then(|| Self(text.trim().to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceLogins")
    }
}

/// What counts as one client: an IPv4 address, or the network that one IPv6 customer gets.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests;

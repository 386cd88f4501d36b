//! The connection to the engine: made when it is first needed and again after it was lost, and no call without a
//! deadline.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::time::timeout;

use crate::spawner::{BoxError, SpawnError};

/// For what the engine knows by heart.
pub(super) const PROMPT: Duration = Duration::from_secs(30);
/// For what it has to make or take away; a busy disk makes these slow.
pub(super) const SLOW: Duration = Duration::from_mins(2);
/// The oldest API that has everything used here (Docker 20.10, Podman 4).
const OLDEST: (u32, u32) = (1, 41);

/// The engine behind a socket.
#[derive(Debug)]
pub(super) struct Engine {
    socket: PathBuf,
    connected: Mutex<Option<Connected>>,
}

/// A client of an engine that has said who it is.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    client: Docker,
    /// Podman: it has no inter-container switch, and names its log drivers differently.
    pub(super) podman: bool,
    address: String,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, connected: Mutex::new(None) }
    }

    /// The engine, asked for its version when it has not been yet.
    pub(super) async fn connect(&self) -> Result<Connected, SpawnError> {
        let known = self.connected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(connected) = known {
            return Ok(connected);
        }
        let connected = self.greet().await?;
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(connected.clone());
        Ok(connected)
    }

    /// Forgets the engine when it was not there: another version may come back.
    pub(super) fn note<T>(&self, result: &Result<T, SpawnError>) {
        if matches!(result, Err(SpawnError::Unreachable { .. })) {
            *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    async fn greet(&self) -> Result<Connected, SpawnError> {
        let address = self.socket.display().to_string();
        let unreachable = |source: BoxError| SpawnError::Unreachable { address: address.clone(), source };
        // The client's own error would hide a permission that is missing on the way.
        tokio::fs::metadata(&self.socket).await.map_err(|error| unreachable(error.into()))?;
        // Every call has a shorter deadline of its own; the client's would end a patient stop.
        let client = Docker::connect_with_unix(&address, 86_400, API_DEFAULT_VERSION)
            .map_err(|error| unreachable(error.into()))?;
        let mut connected = Connected { client, podman: false, address: address.clone() };
        let version = connected.call("ask for the version", PROMPT, Docker::version).await?;
        let api = version.api_version.unwrap_or_default();
        if api_version(&api).is_none_or(|api| api < OLDEST) {
            let (major, minor) = OLDEST;
            return Err(SpawnError::Create {
                doing: format!("use the container runtime at {address}"),
                source: format!("it speaks API {api:?}; {major}.{minor} or later is needed").into(),
            });
        }
        connected.podman =
            version.components.unwrap_or_default().iter().any(|part| part.name.contains("Podman"));
        Ok(connected)
    }
}

impl Connected {
    /// One call with a deadline; `doing` says in an error what it was for.
    pub(super) async fn call<'a, T, F>(
        &'a self,
        doing: &str,
        deadline: Duration,
        call: impl FnOnce(&'a Docker) -> F,
    ) -> Result<T, SpawnError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match timeout(deadline, call(&self.client)).await {
            Ok(result) => result.map_err(|error| self.error(doing, error)),
            Err(_elapsed) => Err(self.silent(deadline)),
        }
    }

    /// As [`Connected::call`]; `None` where the engine answers 404.
    pub(super) async fn find<'a, T, F>(
        &'a self,
        doing: &str,
        deadline: Duration,
        call: impl FnOnce(&'a Docker) -> F,
    ) -> Result<Option<T>, SpawnError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match timeout(deadline, call(&self.client)).await {
            Ok(Ok(found)) => Ok(Some(found)),
            Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
            Ok(Err(error)) => Err(self.error(doing, error)),
            Err(_elapsed) => Err(self.silent(deadline)),
        }
    }

    /// The client, for streams, which have deadlines of their own.
    pub(super) fn client(&self) -> &Docker {
        &self.client
    }

    /// No answer in time.
    pub(super) fn silent(&self, deadline: Duration) -> SpawnError {
        SpawnError::Unreachable {
            address: self.address.clone(),
            source: format!("no answer in {} s", deadline.as_secs()).into(),
        }
    }

    /// An error of the client while it fetched an image.
    pub(super) fn pull_error(&self, image: &str, error: &Arc<Error>) -> SpawnError {
        let source: BoxError = Arc::clone(error).into();
        if is_connection(error) {
            SpawnError::Unreachable { address: self.address.clone(), source }
        } else {
            SpawnError::Pull { image: image.to_owned(), source }
        }
    }

    /// An error of the client: the engine refused, or was not there.
    pub(super) fn error(&self, doing: &str, error: Error) -> SpawnError {
        if is_connection(&error) {
            SpawnError::Unreachable { address: self.address.clone(), source: error.into() }
        } else {
            SpawnError::Create { doing: doing.to_owned(), source: error.into() }
        }
    }
}

/// The status of an answer that refuses.
pub(super) fn refused_with(error: &SpawnError, status: u16) -> bool {
    let SpawnError::Create { source, .. } = error else { return false };
    matches!(
        source.downcast_ref::<Error>(),
        Some(Error::DockerResponseServerError { status_code, .. }) if *status_code == status
    )
}

/// An answer that is not what the API says.
pub(super) fn is_unreadable(error: &SpawnError) -> bool {
    let SpawnError::Create { source, .. } = error else { return false };
    matches!(source.downcast_ref::<Error>(), Some(Error::JsonDataError { .. }))
}

fn is_connection(error: &Error) -> bool {
    matches!(
        error,
        Error::SocketNotFoundError(_)
            | Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
            | Error::RequestTimeoutError
    )
}

fn api_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_are_compared_as_numbers() {
        assert!(api_version("1.100").unwrap() > OLDEST);
        assert!(api_version("1.41").unwrap() >= OLDEST);
        assert!(api_version("1.5").unwrap() < OLDEST);
        assert_eq!(api_version("latest"), None);
    }
}

//! What two hubgates say to each other over a pair of sockets: messages in JSON, each after its length.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream as Blocking;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::logging::cause;
use crate::tasks::Tasks;

/// The other is not understood, or not there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The socket.
    #[error("the connection to the other hubgate broke off")]
    Broken(#[from] io::Error),
    /// It does not read.
    #[error("the other hubgate does not listen")]
    Deaf,
    /// No words that are known.
    #[error("the other hubgate says what is not understood")]
    Foreign(#[from] serde_json::Error),
    /// More than [`LONGEST`].
    #[error("a message of {0} bytes is too long")]
    Long(usize),
}

/// One end: says anything, hears what is a `T`.
pub(crate) struct Link<T> {
    writer: OwnedWriteHalf,
    heard: mpsc::Receiver<T>,
}

impl<T: DeserializeOwned + Send + 'static> Link<T> {
    /// Listens in a task, to the end of the connection or of the process.
    pub(crate) fn new(stream: Blocking, tasks: &Tasks) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        let (sender, heard) = mpsc::channel(UNHEARD);
        let stopping = tasks.stopping();
        tasks.spawn(async move { stopping.run_until_cancelled(listen(reader, sender)).await });
        Ok(Self { writer, heard })
    }

    /// The next message; `None`: the other is gone. Whoever stops waiting loses nothing.
    pub(crate) async fn next(&mut self) -> Option<T> {
        self.heard.recv().await
    }

    /// Whether the other is surely gone.
    pub(crate) fn is_over(&self) -> bool {
        self.heard.is_closed() && self.heard.is_empty()
    }

    pub(crate) async fn send(&mut self, message: &impl Serialize) -> Result<(), LinkError> {
        let bytes = encoded(message)?;
        let written = timeout(PATIENCE, self.writer.write_all(&bytes)).await;
        written.map_err(|_late| LinkError::Deaf)?.map_err(LinkError::Broken)
    }
}

async fn listen<T: DeserializeOwned>(mut reader: OwnedReadHalf, sender: mpsc::Sender<T>) {
    loop {
        match read(&mut reader).await {
            Ok(message) => {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
            Err(LinkError::Broken(error)) => {
                return debug!(error = cause(&error), "the other hubgate is gone");
            }
            Err(error) => return warn!(error = cause(&error), "the other hubgate is not heard any more"),
        }
    }
}

async fn read<T: DeserializeOwned>(reader: &mut OwnedReadHalf) -> Result<T, LinkError> {
    let length = length(reader.read_u32().await?)?;
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The same, before there is a runtime.
pub(crate) fn read_blocking<T: DeserializeOwned>(stream: &mut Blocking) -> Result<T, LinkError> {
    let mut first = [0; 4];
    stream.read_exact(&mut first)?;
    let mut bytes = vec![0; length(u32::from_be_bytes(first))?];
    stream.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

pub(crate) fn send_blocking(stream: &mut Blocking, message: &impl Serialize) -> Result<(), LinkError> {
    Ok(stream.write_all(&encoded(message)?)?)
}

fn encoded(message: &impl Serialize) -> Result<Vec<u8>, LinkError> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= LONGEST);
    let length = length.ok_or(LinkError::Long(text.len()))?;
    Ok([&length.to_be_bytes(), &text[..]].concat())
}

fn length(said: u32) -> Result<usize, LinkError> {
    let length = usize::try_from(said).unwrap_or(usize::MAX);
    if length <= LONGEST { Ok(length) } else { Err(LinkError::Long(length)) }
}

/// A user in a great many groups.
const LONGEST: usize = 1024 * 1024;

/// More than there are lines: while one end says much, it hears all that the other says to it.
const UNHEARD: usize = 128 * 1024;

/// How long the other may leave a message unread.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_comes_as_it_was_sent_and_one_that_is_too_long_ends_the_link() {
        let tasks = Tasks::default();
        let (one, mut other) = Blocking::pair().unwrap();
        let mut link = Link::<Vec<String>>::new(one, &tasks).unwrap();
        send_blocking(&mut other, &["a", "b"]).unwrap();
        assert_eq!(link.next().await.unwrap(), ["a", "b"]);
        link.send(&"c").await.unwrap();
        assert_eq!(read_blocking::<String>(&mut other).unwrap(), "c");
        other.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(link.next().await, None);
    }

    #[tokio::test]
    async fn words_that_are_not_known_end_the_link() {
        let (one, mut other) = Blocking::pair().unwrap();
        let mut link = Link::<u32>::new(one, &Tasks::default()).unwrap();
        send_blocking(&mut other, &"three").unwrap();
        assert_eq!(link.next().await, None);
    }
}

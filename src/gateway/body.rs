//! The body of a response: a page of ours, or the workspace's as it comes.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper::body::{Frame, SizeHint};
use tower_http::services::fs::ServeFileSystemResponseBody as FileBody;

use crate::forward::{BoxError, ForwardedBody};

/// A response's body.
pub enum Body {
    /// All of it, or nothing.
    Full(Option<Bytes>),
    /// Straight from the workspace.
    Forwarded(ForwardedBody),
    /// What is told as it happens.
    Events(Events),
    /// A file of a folder beside the hub.
    File(FileBody),
}

/// A body whose end is not there yet.
pub struct Events(BoxStream<'static, Bytes>);

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self::Full(None)
    }

    /// These, as they come.
    pub fn events(events: BoxStream<'static, Bytes>) -> Self {
        Self::Events(Events(events))
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Forwarded(body) => Pin::new(body).poll_frame(cx),
            Self::Events(Events(events)) => {
                events.poll_next_unpin(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::File(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Forwarded(body) => body.is_end_stream(),
            Self::Events(_) => false,
            Self::File(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(
                bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            ),
            Self::Forwarded(body) => body.size_hint(),
            Self::Events(_) => SizeHint::default(),
            Self::File(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Forwarded(_) => "Forwarded",
            Self::Events(_) => "Events",
            Self::File(_) => "File",
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

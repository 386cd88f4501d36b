//! Bodies of forwarded messages: they stream, and nothing is kept of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::BoxError;
use super::activity::{Activity, Moving};
use super::headers::{self, Length};
use super::lifeline::{Hold, Lifeline};
use super::pool::Lease;

/// The response's body, straight from the workspace. Read to its end, it gives the connection back; dropped before, it
/// closes it. It is cut off when its lifeline ends.
pub struct ForwardedBody<B = Incoming> {
    incoming: Option<B>,
    lease: Option<Lease>,
    life: Life,
    moving: Moving,
}

/// What a response's body knows of its lifeline. Most bodies are there at once, and never ask.
enum Life {
    /// Nobody has waited for the body yet.
    Unasked(Arc<Lifeline>),
    /// Somebody waits, for the body or for the end.
    Waiting { end: Pin<Box<WaitForCancellationFutureOwned>>, hold: Hold },
    /// The body is over.
    Over,
}

impl Life {
    /// Whether it has ended, without waiting for the end: whoever sends without a pause is never waited for.
    fn has_ended(&self) -> bool {
        match self {
            Self::Unasked(lifeline) => lifeline.ended().is_cancelled(),
            Self::Waiting { hold, .. } => hold.is_cut(),
            Self::Over => false,
        }
    }

    /// Whether it has ended; if not, the end wakes `context`.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Self::Unasked(lifeline) = self {
            let end = Box::pin(lifeline.ended().clone().cancelled_owned());
            *self = Self::Waiting { end, hold: lifeline.hold() };
        }
        match self {
            Self::Waiting { end, .. } => end.as_mut().poll(context),
            Self::Unasked(_) | Self::Over => Poll::Pending,
        }
    }
}

impl<B: Body> ForwardedBody<B> {
    /// The body that came over the leased connection; without a lease nobody uses the connection again. As long as it
    /// moves, the workspace is in use.
    pub(super) fn new(
        incoming: B,
        lease: Option<Lease>,
        lifeline: &Arc<Lifeline>,
        activity: Option<&Arc<Activity>>,
    ) -> Self {
        if incoming.is_end_stream() {
            let mut body = Self { incoming: None, lease, life: Life::Over, moving: Moving::unnoted() };
            body.end();
            return body;
        }
        let (life, moving) = (Life::Unasked(Arc::clone(lifeline)), Moving::response(activity));
        Self { incoming: Some(incoming), lease, life, moving }
    }

    /// Without the lease the connection closes, and the workspace sees that nobody reads on.
    fn cut(&mut self) -> BoxError {
        (self.incoming, self.lease, self.life) = (None, None, Life::Over);
        "the right to this response has ended".into()
    }

    fn end(&mut self) {
        self.incoming = None;
        self.life = Life::Over;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl ForwardedBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self { incoming: None, lease: None, life: Life::Over, moving: Moving::unnoted() }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for ForwardedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { incoming: Some(incoming), life, moving, .. } = &mut *self else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(context) else {
            moving.paused();
            ready!(life.poll_end(context));
            return Poll::Ready(Some(Err(self.cut())));
        };
        match frame {
            Some(Ok(frame)) => {
                moving.moved();
                // Whoever sends this on may not ask again after the last frame.
                let last = frame.is_trailers() || incoming.is_end_stream();
                if last {
                    self.end();
                } else if life.has_ended() {
                    return Poll::Ready(Some(Err(self.cut())));
                }
                Poll::Ready(Some(Ok(without_foreign_trailers(frame))))
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                (self.incoming, self.lease, self.life) = (None, None, Life::Over);
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Trailers are fields like any other to whoever merges them.
fn without_foreign_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            headers::for_client(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

impl<B> fmt::Debug for ForwardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardedBody").field("ended", &self.incoming.is_none()).finish_non_exhaustive()
    }
}

/// The request's body, straight from the client, without trailers. It fails when the client pauses for too long, and when
/// its lifeline ends.
pub(super) struct RequestBody<B = Incoming> {
    incoming: Option<B>,
    life: Life,
    pause: Pause,
    progress: Option<Arc<Progress>>,
    moving: Moving,
}

impl RequestBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self::over()
    }
}

impl<B: Body> RequestBody<B> {
    /// The client's body, in which each pause may last so long. As long as it moves, the workspace is in use.
    pub(super) fn new(
        incoming: B,
        pause: Duration,
        lifeline: &Arc<Lifeline>,
        activity: Option<&Arc<Activity>>,
    ) -> Self {
        if incoming.is_end_stream() {
            return Self::over();
        }
        Self {
            incoming: Some(incoming),
            life: Life::Unasked(Arc::clone(lifeline)),
            pause: Pause { limit: pause, sleep: None, waiting: false },
            progress: Some(Arc::default()),
            moving: Moving::request(activity),
        }
    }

    fn over() -> Self {
        Self {
            incoming: None,
            life: Life::Over,
            pause: Pause { limit: Duration::MAX, sleep: None, waiting: false },
            progress: None,
            moving: Moving::unnoted(),
        }
    }

    pub(super) fn length(&self) -> Length {
        match &self.incoming {
            None => Length::None,
            Some(incoming) => incoming.size_hint().exact().map_or(Length::Unknown, Length::Known),
        }
    }

    fn cut(&mut self) -> BoxError {
        (self.incoming, self.life) = (None, Life::Over);
        "the right to send this has ended".into()
    }

    /// How far it is; `None` without a body.
    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(context) else {
            this.moving.paused();
            if this.life.poll_end(context).is_ready() {
                return Poll::Ready(Some(Err(this.cut())));
            }
            return this.pause.poll(context).map(|paused| Some(Err(paused.into())));
        };
        if this.life.has_ended() {
            return Poll::Ready(Some(Err(this.cut())));
        }
        this.pause.waiting = false;
        this.moving.moved();
        if let Some(progress) = &this.progress {
            progress.moved();
        }
        match frame {
            Some(Ok(frame)) if !frame.is_trailers() => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            Some(Ok(_)) | None => {
                this.life = Life::Over;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// When a request's body last moved: until then, nobody can expect the answer.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds after `began`.
    moved: AtomicU64,
}

impl Progress {
    fn moved(&self) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(elapsed, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self { began: Instant::now(), moved: AtomicU64::new(0) }
    }
}

/// The deadline of a client that has something to send. It is made at the first pause: most bodies have none.
struct Pause {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Pause {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Paused> {
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            sleep.as_mut().reset(Instant::now() + limit);
        }
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Paused { limit })
    }
}

/// The client stopped sending.
#[derive(Debug, Error)]
#[error("the client sent nothing for {}s", .limit.as_secs())]
struct Paused {
    limit: Duration,
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Clock;

    /// A body that always has something to send.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    /// Whether the next frame is one; else the body is at its end, and why.
    async fn next<B: Body<Data = Bytes, Error = BoxError> + Unpin>(body: &mut B) -> Result<bool, String> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.transpose().map(|frame| frame.is_some()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_response_that_never_pauses_ends_with_the_right_to_it() {
        let lifeline = Lifeline::new(CancellationToken::new());
        let mut body = ForwardedBody::new(Endless, None, &lifeline, None);
        for _ in 0..3 {
            assert_eq!(next(&mut body).await, Ok(true));
        }
        lifeline.cut();
        assert_eq!(next(&mut body).await, Err("the right to this response has ended".to_owned()));
        assert_eq!(next(&mut body).await, Ok(false), "and there is no more of it");
    }

    #[tokio::test]
    async fn a_body_that_never_pauses_is_use_as_long_as_it_lasts() {
        let lifeline = Lifeline::new(CancellationToken::new());
        let clock = Clock::manual(1000);
        let activity = Activity::new(clock.clone());
        let mut download = ForwardedBody::new(Endless, None, &lifeline, Some(&activity));
        let mut upload = RequestBody::new(Endless, Duration::from_mins(1), &lifeline, Some(&activity));
        for hour in 1..3_u64 {
            for name in ["download", "upload"] {
                clock.advance(Duration::from_mins(30));
                for _ in 0..16 {
                    if name == "upload" { next(&mut upload).await } else { next(&mut download).await }
                        .unwrap();
                }
                assert_eq!(activity.last(), clock.now(), "{name} in hour {hour}");
            }
        }
    }

    #[tokio::test]
    async fn an_upload_that_never_pauses_ends_with_the_right_to_it() {
        let lifeline = Lifeline::new(CancellationToken::new());
        let mut body = RequestBody::new(Endless, Duration::from_mins(1), &lifeline, None);
        for _ in 0..3 {
            assert_eq!(next(&mut body).await, Ok(true));
        }
        lifeline.cut();
        assert_eq!(next(&mut body).await, Err("the right to send this has ended".to_owned()));
        assert_eq!(next(&mut body).await, Ok(false));
    }
}

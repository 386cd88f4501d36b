//! The life of a process from which another has taken over: it keeps what is open, and takes nothing new.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::lines::{Before, Rights, Told};
use super::link::{Link, LinkError};
use super::words::{FromNew, FromOld};
use crate::app::App;

/// What it goes by.
pub(crate) struct Linger<'a> {
    pub(crate) app: &'a App,
    pub(crate) link: Link<FromNew>,
    /// The process that this one has taken over from.
    pub(crate) before: Option<Before>,
    /// How long it may last.
    pub(crate) limit: Duration,
}

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Limit,
    Aged,
    Alone,
}

/// Until nothing is open any more, or must be.
pub(crate) async fn linger(linger: Linger<'_>) {
    let Linger { app, mut link, before, limit } = linger;
    let began = Instant::now();
    if let Some(before) = &before {
        before.age().await;
    }
    let end = tokio::select! {
        end = follow(app, &mut link, before.as_ref()) => end,
        () = sleep(limit) => End::Limit,
    };
    let open = app.metrics.tunnels.get();
    match end {
        End::Closed => {
            info!(event = "stopped", after = ?began.elapsed(), "everything from before the upgrade has ended");
        }
        End::Limit => warn!(
            event = "stopped",
            open, "listen.handover_timeout is over: what is open from before the upgrade is cut off"
        ),
        End::Aged => warn!(
            event = "stopped",
            open, "one upgrade too many: what is open from before the first is cut off"
        ),
        // Nobody says any more which rights have ended.
        End::Alone => {
            warn!(
                event = "stopped",
                open, "the hubgate that took over is gone: what is open here is cut off"
            );
        }
    }
    app.tasks.stop();
    // For the goodbyes.
    if timeout(GOODBYE, app.tasks.ended()).await.is_err() {
        warn!(open = app.tasks.running(), "connections are cut off");
    }
}

async fn follow(app: &App, link: &mut Link<FromNew>, before: Option<&Before>) -> End {
    let (rights, mut told, mut age, mut ticks) = (Rights::of(app), Told::default(), 1, 0_u64);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            said = link.next() => match said {
                Some(FromNew::Cut { number }) => told.cut(number),
                Some(FromNew::Aged) => {
                    age += 1;
                    if age >= GENERATIONS {
                        return End::Aged;
                    }
                    if let Some(before) = before {
                        before.age().await;
                    }
                }
                Some(FromNew::Prepared { .. } | FromNew::Ready | FromNew::Failed { .. }) => {}
                None => return End::Alone,
            },
            _ = tick.tick() => {
                let mut news = told.news(&rights);
                if ticks.is_multiple_of(USED_EVERY) {
                    news.extend(told.used(&rights));
                }
                ticks += 1;
                if tell(link, news).await.is_err() {
                    return End::Alone;
                }
                if app.metrics.connections.get() == 0 && before.is_none_or(Before::is_gone) {
                    return End::Closed;
                }
            }
        }
    }
}

async fn tell(link: &mut Link<FromNew>, news: Vec<FromOld>) -> Result<(), LinkError> {
    for news in news {
        link.send(&news).await?;
    }
    Ok(())
}

/// Between looks at what is open.
const TICK: Duration = Duration::from_secs(1);
/// Between two reports of what was used, in ticks.
const USED_EVERY: u64 = 10;
/// Processes from before upgrades, at once; and the one that serves.
const GENERATIONS: u32 = 4;
const GOODBYE: Duration = Duration::from_secs(3);

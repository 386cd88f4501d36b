//! The runtimes that connections live on, each a thread.

use std::future::pending;
use std::net::TcpListener as Socket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::run::notify;
use super::{App, AppError};
use crate::listener::Service;

/// The workers of the process.
pub(super) struct Workers {
    /// Cancelled at the end: what still runs is dropped.
    pub(super) over: CancellationToken,
    /// What each has counted up to: one that stands still is stuck.
    beats: Vec<Arc<AtomicU64>>,
    /// How often the service manager wants to hear that all is well.
    watchdog: Option<Duration>,
}

impl Workers {
    /// Starts `count` workers. Each drives the accept loops of all public sockets: whoever is free takes the next
    /// connection. The first has the other sockets too.
    pub(super) fn start(app: &App, count: usize) -> Result<Self, AppError> {
        let watchdog = sd_notify::watchdog_enabled();
        let mut workers = Self { over: CancellationToken::new(), beats: Vec::new(), watchdog };
        for worker in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build().map_err(AppError::Runtime)?;
            accept(app, &runtime, worker)?;
            workers.drive(runtime, worker)?;
        }
        Ok(workers)
    }

    fn drive(&mut self, runtime: Runtime, worker: usize) -> Result<(), AppError> {
        let beat = Arc::new(AtomicU64::new(0));
        self.beats.push(Arc::clone(&beat));
        let (over, every) = (self.over.clone(), self.watchdog);
        let body = move || {
            runtime.block_on(async {
                let beating = async {
                    let Some(every) = every else { return pending().await };
                    loop {
                        tokio::time::sleep(every / 8).await;
                        beat.fetch_add(1, Ordering::Relaxed);
                    }
                };
                tokio::select! { () = over.cancelled() => {}, () = beating => {} }
            });
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(format!("hubgate-worker-{worker}"));
        thread.spawn(body).map(drop).map_err(AppError::Runtime)
    }

    /// Tells the service manager, for ever, that all is well, as long as every worker moves.
    pub(super) async fn watchdog(&self) {
        let Some(every) = self.watchdog else { return pending().await };
        let mut seen: Vec<u64> = Vec::new();
        loop {
            tokio::time::sleep(every / 3).await;
            let now: Vec<u64> = self.beats.iter().map(|beat| beat.load(Ordering::Relaxed)).collect();
            let stuck = seen.iter().zip(&now).position(|(before, now)| before == now);
            match stuck {
                None => notify(&[NotifyState::Watchdog]),
                Some(worker) => {
                    error!(worker, "a worker is stuck; the service manager is not told that all is well");
                }
            }
            seen = now;
        }
    }
}

fn accept(app: &App, runtime: &Runtime, worker: usize) -> Result<(), AppError> {
    let sockets = &app.sockets;
    let public = || Service::Public(app.gateway.clone());
    let redirect = || Service::Redirect(Arc::clone(&app.redirect));
    let operations = || Service::Operations(Arc::clone(&app.admin));
    let hub_api = || Service::HubApi(app.gateway.clone());
    let mut doors: Vec<(&Socket, Service, bool, &str)> = Vec::new();
    doors.extend(sockets.https.iter().map(|socket| (socket, public(), true, "https")));
    doors.extend(sockets.http.iter().map(|socket| (socket, redirect(), false, "http")));
    if worker == 0 {
        doors.extend(sockets.operations.iter().map(|socket| (socket, operations(), false, "operations")));
        doors.extend(sockets.hub_api.iter().map(|socket| (socket, hub_api(), false, "hub_api")));
    }
    for (socket, service, tls, name) in doors {
        if worker == 0 {
            let address = socket.local_addr().map_err(AppError::Runtime)?;
            info!(event = "listening", listener = name, %address, "listening");
        }
        let socket = socket.try_clone().map_err(AppError::Runtime)?;
        let _context = runtime.enter();
        let socket = TcpListener::from_std(socket).map_err(AppError::Runtime)?;
        app.tasks.spawn(Arc::clone(&app.listener).accept(socket, service, tls, worker));
    }
    Ok(())
}

//! The runtimes that connections live on, each a thread.

use std::future::pending;
use std::net::TcpListener as Socket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::run::notify;
use super::{App, AppError};
use crate::listener::{Listeners, Service};

/// The workers of the process.
pub(super) struct Workers {
    /// Cancelled at the end: what still runs is dropped.
    pub(super) over: CancellationToken,
    /// Cancelled when another process is the service manager's.
    pub(super) handed: CancellationToken,
    /// What is accepted on, and what the next process is given. Closed when nobody accepts any more: a socket that were
    /// held then would take connections that nobody answers.
    sockets: Mutex<Listeners>,
    runtimes: Vec<Handle>,
    /// What each has counted up to: one that stands still is stuck.
    beats: Vec<Arc<AtomicU64>>,
    /// How often the service manager wants to hear that all is well.
    watchdog: Option<Duration>,
}

impl Workers {
    /// Starts `count` workers. Each drives the accept loops of all public sockets: whoever is free takes the next
    /// connection. The first has the other sockets too.
    pub(super) fn start(app: &App, sockets: Listeners, count: usize) -> Result<Self, AppError> {
        let watchdog = sd_notify::watchdog_enabled();
        let mut workers = Self {
            over: CancellationToken::new(),
            handed: CancellationToken::new(),
            sockets: Mutex::new(sockets),
            runtimes: Vec::new(),
            beats: Vec::new(),
            watchdog,
        };
        for worker in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build().map_err(AppError::Runtime)?;
            workers.runtimes.push(runtime.handle().clone());
            workers.drive(runtime, worker)?;
        }
        workers.accept(app)?;
        Ok(workers)
    }

    /// Begins to accept, in the present turn.
    pub(super) fn accept(&self, app: &App) -> Result<(), AppError> {
        let sockets = self.lock();
        let mut runtimes = self.runtimes.iter().enumerate();
        runtimes.try_for_each(|(worker, runtime)| accept(app, &sockets, runtime, worker))
    }

    /// The listening sockets, for another process.
    pub(super) fn sockets(&self) -> std::io::Result<Vec<Socket>> {
        self.lock().all().map(Socket::try_clone).collect()
    }

    /// Closes the listening sockets.
    pub(super) fn close(&self) {
        *self.lock() = Listeners::default();
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
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
            let pause = tokio::time::sleep(every / 3);
            if self.handed.run_until_cancelled(pause).await.is_none() {
                return pending().await;
            }
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

fn accept(app: &App, sockets: &Listeners, runtime: &Handle, worker: usize) -> Result<(), AppError> {
    let door = |socket: &Socket, service, tls| {
        let socket = socket.try_clone().map_err(AppError::Runtime)?;
        if worker == 0 {
            let address = socket.local_addr().map_err(AppError::Runtime)?;
            info!(event = "listening", %address, tls, "listening");
        }
        let listener = if matches!(service, Service::Operations(_)) { &app.watched } else { &app.listener };
        let _context = runtime.enter();
        let socket = TcpListener::from_std(socket).map_err(AppError::Runtime)?;
        listener.tasks().spawn(Arc::clone(listener).accept(socket, service, tls, worker));
        Ok(())
    };
    sockets.https.iter().try_for_each(|socket| door(socket, Service::Public(app.gateway.clone()), true))?;
    let redirect = || Service::Redirect(Arc::clone(&app.redirect));
    sockets.http.iter().try_for_each(|socket| door(socket, redirect(), false))?;
    if worker > 0 {
        return Ok(());
    }
    let operations = || Service::Operations(Arc::clone(&app.admin));
    sockets.operations.iter().try_for_each(|socket| door(socket, operations(), false))?;
    sockets.hub_api.iter().try_for_each(|socket| door(socket, Service::HubApi(app.gateway.clone()), false))
}

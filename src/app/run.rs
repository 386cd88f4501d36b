//! The life of the process: workers, timers, signals, the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{App, AppError, build, start_log};
use crate::config::Config;
use crate::listener::Service;
use crate::metrics::Outcome;

/// Between looks at what is over and what must be written down.
const SWEEP: Duration = Duration::from_secs(30);

/// Runs until a signal ends it.
///
/// Connections live on worker runtimes, one a thread, so that a request is served where it came in; everything that
/// waits for the provider or the container runtime is on another, and stalls nobody.
pub fn run(config: Config) -> Result<(), AppError> {
    start_log(&config.log)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = config.listen.workers.unwrap_or(cores).max(1);
    let control =
        Builder::new_multi_thread().worker_threads(2).thread_name("hubgate-control").enable_all().build();
    let control = control.map_err(AppError::Runtime)?;
    let drain = config.listen.drain_timeout.0;
    let reconcile = config.spawner.docker.reconcile_interval.0;
    let app = control.block_on(build(config, workers))?;
    let runtimes = start_workers(&app, workers)?;
    let outcome = control.block_on(live(&app, reconcile, drain));
    for runtime in runtimes {
        runtime.shutdown_background();
    }
    control.shutdown_background();
    outcome
}

/// One runtime a worker. Each drives the accept loops of all sockets: whoever is free takes the next connection.
fn start_workers(app: &App, workers: usize) -> Result<Vec<Runtime>, AppError> {
    (0..workers).map(|worker| start_worker(app, worker)).collect()
}

fn start_worker(app: &App, worker: usize) -> Result<Runtime, AppError> {
    let name = format!("hubgate-worker-{worker}");
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
    let runtime = runtime.map_err(AppError::Runtime)?;
    let public = || Service::Public(app.gateway.clone());
    let redirect = || Service::Redirect(Arc::clone(&app.redirect));
    let sockets = &app.sockets;
    let mut served: Vec<(&std::net::TcpListener, Service, bool)> = Vec::new();
    served.extend(sockets.https.iter().map(|socket| (socket, public(), true)));
    served.extend(sockets.http.iter().map(|socket| (socket, redirect(), false)));
    if worker == 0 {
        let operations = || Service::Operations(Arc::clone(&app.admin));
        served.extend(sockets.operations.iter().map(|socket| (socket, operations(), false)));
        served.extend(
            sockets.hub_api.iter().map(|socket| (socket, Service::HubApi(app.gateway.clone()), false)),
        );
    }
    for (socket, service, tls) in served {
        let socket = socket.try_clone().map_err(AppError::Runtime)?;
        let _context = runtime.enter();
        let socket = TcpListener::from_std(socket).map_err(AppError::Runtime)?;
        app.tasks.spawn(Arc::clone(&app.listener).accept(socket, service, tls, worker));
    }
    Ok(runtime)
}

async fn live(app: &App, reconcile: Duration, drain: Duration) -> Result<(), AppError> {
    let watch = |kind| signal(kind).map_err(AppError::Signals);
    let (mut hangup, mut terminate, mut interrupt) =
        (watch(SignalKind::hangup())?, watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    start_timers(app, reconcile);
    info!(event = "ready", version = env!("CARGO_PKG_VERSION"), "hubgate is ready");
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    loop {
        tokio::select! {
            Some(()) = hangup.recv() => reload(app),
            () = end(&mut terminate, &mut interrupt) => break,
        }
    }
    info!(event = "stopping", open = app.tasks.running(), "hubgate stops");
    notify(&[NotifyState::Stopping]);
    app.tasks.stop();
    let began = Instant::now();
    tokio::select! {
        () = app.tasks.ended() => info!(event = "stopped", elapsed = ?began.elapsed(), "every connection has ended"),
        () = tokio::time::sleep(drain) => warn!(event = "stopped", open = app.tasks.running(), "connections are cut off"),
        () = end(&mut terminate, &mut interrupt) => warn!(event = "stopped", "a second signal: at once"),
    }
    if let Err(error) = app.sessions.sweep().await {
        error!(error = &error as &dyn std::error::Error, "cannot write down when sessions were last used");
    }
    Ok(())
}

async fn end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Certificates and keys are read again. Whatever is wrong with them, the old ones stay.
fn reload(app: &App) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
    let result = match app.certificates.reload() {
        Ok(()) => {
            app.metrics.certificate_expiry.set(i64::try_from(app.certificates.expiry()).unwrap_or(i64::MAX));
            info!(event = "certificates_reloaded", "certificates were read again");
            "ok"
        }
        Err(error) => {
            let remedy = error.remedy();
            error!(
                event = "certificates_kept",
                error = &error as &dyn std::error::Error,
                remedy,
                "certificates cannot be used: the old ones stay"
            );
            "failed"
        }
    };
    app.metrics.certificate_reloads.get_or_create(&Outcome { result }).inc();
    notify(&[NotifyState::Ready]);
}

fn start_timers(app: &App, reconcile: Duration) {
    let workspaces = app.workspaces.clone();
    app.tasks.spawn(async move { workspaces.watch(reconcile).await });
    let (sessions, stopping) = (app.sessions.clone(), app.tasks.stopping());
    app.tasks.spawn(async move {
        while let Some(()) = stopping.run_until_cancelled(tokio::time::sleep(SWEEP)).await {
            if let Err(error) = sessions.sweep().await {
                error!(
                    error = &error as &dyn std::error::Error,
                    "cannot write down when sessions were last used"
                );
            }
        }
    });
    let (provider, stopping) = (app.provider.clone(), app.tasks.stopping());
    app.tasks.spawn(async move {
        let mut pause = Duration::from_secs(1);
        while let Err(error) = provider.ready().await {
            warn!(
                error = &error as &dyn std::error::Error,
                remedy = error.remedy(),
                "the provider is not ready"
            );
            if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(Duration::from_secs(30));
        }
        info!(event = "provider_ready", "the provider is ready");
    });
    if let Some(every) = sd_notify::watchdog_enabled() {
        let stopping = app.tasks.stopping();
        app.tasks.spawn(async move {
            while let Some(()) = stopping.run_until_cancelled(tokio::time::sleep(every / 2)).await {
                notify(&[NotifyState::Watchdog]);
            }
        });
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(error = &error as &dyn std::error::Error, "cannot tell the service manager");
    }
}

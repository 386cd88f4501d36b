//! The life of the process: workers, timers, signals, the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::workers::Workers;
use super::{App, AppError, build, start_log, tell_validity};
use crate::config::Config;
use crate::control::Socket;
use crate::gateway::Gateway;
use crate::listener::{Inherited, bind};
use crate::logging::cause;
use crate::metrics::Outcome;
use crate::oidc::Provider;
use crate::session::Sessions;
use crate::share::Shares;
use crate::token::ApiTokens;
use crate::workspace::Workspaces;

/// Between looks at what is over, what must be written down, and who seems idle.
const SWEEP: Duration = Duration::from_secs(30);

/// Between looks at which sessions must be renewed, and which shares are over.
const RENEW: Duration = Duration::from_secs(1);

/// Runs until a signal ends it.
///
/// Connections live on worker runtimes, one a thread, so that a request is served where it came in; everything that
/// waits for the provider or the container runtime on its own account is on another, and stalls nobody.
pub fn run(config: Config) -> Result<(), AppError> {
    start_log(&config.log)?;
    // Before there are threads: it changes the environment.
    let inherited = Inherited::from_environment()?;
    let sockets = bind(&config.listen, config.hub_api_address(), inherited)?;
    let admin_socket = config.admin.socket.as_deref().map(Socket::bind).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = config.listen.workers.unwrap_or(cores).max(1);
    let control =
        Builder::new_multi_thread().worker_threads(2).thread_name("hubgate-control").enable_all().build();
    let control = control.map_err(AppError::Runtime)?;
    let drain = config.listen.drain_timeout.0;
    let reconcile = config.spawner.docker.reconcile_interval.0;
    let app = control.block_on(build(config, workers))?;
    // Whoever accepts has them now: a socket that were held here would take connections that nobody answers.
    let workers = Workers::start(&app, sockets, workers)?;
    let outcome = control.block_on(async {
        tokio::select! {
            outcome = live(&app, admin_socket, reconcile, drain) => outcome,
            () = workers.watchdog() => Ok(()),
        }
    });
    workers.over.cancel();
    control.shutdown_background();
    outcome
}

async fn live(
    app: &App,
    admin_socket: Option<Socket>,
    reconcile: Duration,
    drain: Duration,
) -> Result<(), AppError> {
    let watch = |kind| signal(kind).map_err(AppError::Signals);
    let (mut hangup, mut terminate, mut interrupt) =
        (watch(SignalKind::hangup())?, watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    let stopping = app.tasks.stopping();
    start_timers(app, reconcile);
    if let Some(socket) = admin_socket {
        app.tasks.spawn(app.control.clone().serve(socket, app.tasks.clone()));
    }
    info!(event = "ready", version = env!("CARGO_PKG_VERSION"), "hubgate is ready");
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    loop {
        tokio::select! {
            Some(()) = hangup.recv() => reload(app),
            () = end(&mut terminate, &mut interrupt) => break,
            // An administrator's order by the API.
            () = stopping.cancelled() => break,
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
    sweep(&app.sessions, &app.api_tokens, &app.shares, &app.gateway, &app.workspaces).await;
    Ok(())
}

/// Ends what is over, and writes down what was used.
async fn sweep(
    sessions: &Sessions,
    api_tokens: &ApiTokens,
    shares: &Shares,
    gateway: &Gateway,
    workspaces: &Workspaces,
) {
    gateway.sweep();
    if let Err(error) = workspaces.sweep().await {
        error!(error = cause(&error), "cannot write down when servers were last used");
    }
    if let Err(error) = sessions.sweep().await {
        error!(error = cause(&error), "cannot write down when sessions were last used");
    }
    if let Err(error) = api_tokens.sweep().await {
        error!(error = cause(&error), "cannot write down when API tokens were last used");
    }
    if let Err(error) = shares.sweep().await {
        error!(error = cause(&error), "cannot write down which shares are over");
    }
}

async fn end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Certificates and keys are read again, and what proves to the providers who we are. Whatever is wrong with them, the
/// old ones stay.
fn reload(app: &App) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
    let result = match app.certificates.reload() {
        Ok(()) => {
            tell_validity(&app.certificates, &app.clock, &app.metrics);
            info!(event = "certificates_reloaded", "certificates were read again");
            "ok"
        }
        Err(error) => {
            let remedy = error.remedy();
            error!(
                event = "certificates_kept",
                error = cause(&error),
                remedy,
                "certificates cannot be used: the old ones stay"
            );
            "failed"
        }
    };
    app.metrics.certificate_reloads.get_or_create(&Outcome { result }).inc();
    reload_credentials(app);
    notify(&[NotifyState::Ready]);
}

fn reload_credentials(app: &App) {
    for config in &app.credentials {
        let Some(provider) = app.providers.find(config.name()) else { continue };
        let renew = || -> Result<(), AppError> {
            provider.renew_credential(config, config.credential()?)?;
            Ok(())
        };
        let name = config.name();
        match renew() {
            Ok(()) => {
                info!(event = "credential_reloaded", provider = name, "the client's secret was read again");
            }
            Err(error) => {
                let remedy = error.remedy();
                error!(
                    event = "credential_kept",
                    provider = name,
                    error = cause(&error),
                    remedy,
                    "the client's secret cannot be used: the old one stays"
                );
            }
        }
    }
}

fn start_timers(app: &App, reconcile: Duration) {
    let workspaces = app.workspaces.clone();
    app.tasks.spawn(async move { workspaces.watch(reconcile).await });
    let (workspaces, stopping) = (app.workspaces.clone(), app.tasks.stopping());
    app.tasks.spawn(async move { stopping.run_until_cancelled(workspaces.prepull()).await });
    let (sessions, api_tokens, gateway) = (app.sessions.clone(), app.api_tokens.clone(), app.gateway.clone());
    let (shares, workspaces, stopping) = (app.shares.clone(), app.workspaces.clone(), app.tasks.stopping());
    app.tasks.spawn(async move {
        while let Some(()) = stopping.run_until_cancelled(tokio::time::sleep(SWEEP)).await {
            sweep(&sessions, &api_tokens, &shares, &gateway, &workspaces).await;
        }
    });
    let (workspaces, stopping) = (app.workspaces.clone(), app.tasks.stopping());
    app.tasks.spawn(async move {
        while let Some(()) = stopping.run_until_cancelled(tokio::time::sleep(SWEEP)).await {
            stopping.run_until_cancelled(workspaces.ask_idle()).await;
        }
    });
    let (sessions, shares, stopping) = (app.sessions.clone(), app.shares.clone(), app.tasks.stopping());
    app.tasks.spawn(async move {
        while let Some(()) = stopping.run_until_cancelled(tokio::time::sleep(RENEW)).await {
            sessions.renew_due();
            shares.expire();
        }
    });
    for (name, provider) in app.providers.iter() {
        let (name, provider, stopping) = (Arc::clone(name), provider.clone(), app.tasks.stopping());
        app.tasks.spawn(async move {
            let find = until_ready(&name, &provider);
            stopping.run_until_cancelled(find).await;
        });
    }
}

/// Looks for a provider until it is found.
async fn until_ready(name: &str, provider: &Provider) {
    let mut pause = Duration::from_secs(1);
    while let Err(error) = provider.ready().await {
        warn!(provider = name, error = cause(&error), remedy = error.remedy(), "the provider is not ready");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
    info!(event = "provider_ready", provider = name, "the provider is ready");
}

pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(error = cause(&error), "cannot tell the service manager");
    }
}

//! The life of the process: workers, timers, signals, the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::handover::{Before, Failed, Handed, Handover, Left, Linger, Program, Taken, linger};
use super::workers::Workers;
use super::{App, AppError, Process, build, start_log, tell_validity};
use crate::config::{Config, SpawnerKind};
use crate::control::{NotUpgraded, Socket, Upgrade, Upgraded};
use crate::gateway::Gateway;
use crate::listener::{Inherited, Listeners, bind};
use crate::logging::cause;
use crate::metrics::Outcome;
use crate::oidc::Provider;
use crate::session::Sessions;
use crate::share::Shares;
use crate::tasks::Tasks;
use crate::token::ApiTokens;
use crate::workspace::Workspaces;

/// Between looks at what is over, what must be written down, and who seems idle.
const SWEEP: Duration = Duration::from_secs(30);

/// Between looks at which sessions must be renewed, and which shares are over.
const RENEW: Duration = Duration::from_secs(1);

/// How long what runs may take to answer, while everybody waits.
const FOUND: Duration = Duration::from_secs(5);

/// Runs until a signal ends it. `program`: what an upgrade starts.
///
/// Connections live on worker runtimes, one a thread, so that a request is served where it came in; everything that
/// waits for the provider or the container runtime on its own account is on another, and stalls nobody.
pub fn run(config: Config, program: Option<Program>) -> Result<(), AppError> {
    start_log(&config.log)?;
    // Before there are threads: it changes the environment.
    let inherited = Inherited::from_environment()?;
    let sockets = bind(&config.listen, config.hub_api_address(), inherited)?;
    let admin = config.admin.socket.as_deref().map(Socket::bind).transpose()?;
    serve(config, Doors { sockets, admin }, program, None)
}

/// Takes over from the process that started this one, and runs in its place.
pub fn take_over(config: Config, program: Option<Program>) -> Result<(), AppError> {
    let mut taken = Taken::receive()?;
    let link = taken.stream()?;
    let serving = || {
        start_log(&config.log)?;
        let inherited = Inherited::taken_over(taken.sockets())?;
        let sockets = bind(&config.listen, config.hub_api_address(), inherited)?;
        let admin = taken.admin(config.admin.socket.as_deref())?;
        serve(config, Doors { sockets, admin }, program, Some(taken))
    };
    serving().inspect_err(|error| Taken::fail(link, error))
}

/// What connections come in by.
struct Doors {
    sockets: Listeners,
    admin: Option<Socket>,
}

fn serve(
    config: Config,
    doors: Doors,
    program: Option<Program>,
    taken: Option<Taken>,
) -> Result<(), AppError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = config.listen.workers.unwrap_or(cores).max(1);
    let control =
        Builder::new_multi_thread().worker_threads(2).thread_name("hubgate-control").enable_all().build();
    let control = control.map_err(AppError::Runtime)?;
    let terms = Terms::of(&config);
    let Doors { sockets, mut admin } = doors;
    let (upgrades, asked) = mpsc::channel(1);
    let (app, workers, before) = control.block_on(async {
        let tasks = Tasks::default();
        let mut link = match taken {
            Some(taken) => Some(taken.prepared(&tasks).await?),
            None => None,
        };
        let begun = async {
            let app = build(config, Process { workers: count, tasks, upgrades }).await?;
            if link.is_some() {
                find_what_runs(&app).await;
            }
            let workers = Workers::start(&app, sockets, count)?;
            Ok::<_, AppError>((app, workers))
        };
        let (app, workers) = match (begun.await, &mut link) {
            (Ok(begun), _) => begun,
            (Err(error), Some(link)) => {
                link.fail(&error).await;
                return Err(error);
            }
            (Err(error), None) => return Err(error),
        };
        if let Some(link) = &mut link {
            link.ready().await?;
            if let Some(Err(error)) = admin.as_mut().map(Socket::own) {
                warn!(error = cause(&error), "the admin socket is not where it was");
            }
        }
        let before = link.map(|link| Before::follow(&app, link));
        Ok::<_, AppError>((app, workers, before))
    })?;
    let outcome = control.block_on(async {
        let life = Life { app: &app, workers: &workers, admin, program, before, terms };
        tokio::select! {
            outcome = life.live(asked) => outcome,
            () = workers.watchdog() => Ok(()),
        }
    });
    workers.over.cancel();
    control.shutdown_background();
    outcome
}

/// Nobody is to be told that their server does not run, or that the provider is away, while this process has not looked:
/// they have waited for it to answer.
async fn find_what_runs(app: &App) {
    // Whatever is wrong with one is told when it is looked for again.
    let providers = app.providers.iter().map(|(_, provider)| async { provider.ready().await.is_ok() });
    let workspaces = async {
        if let Err(error) = app.workspaces.take_over().await {
            return warn!(error = cause(&error), remedy = error.remedy(), "cannot list workspaces");
        }
        while app.workspaces.are_busy() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Beside each other: no provider that is away keeps servers from being found.
    let found = futures_util::future::join(futures_util::future::join_all(providers), workspaces);
    if tokio::time::timeout(FOUND, found).await.is_err() {
        warn!("not everything that was there before answers");
    }
}

/// What the configuration says of a process's life.
struct Terms {
    reconcile: Duration,
    drain: Duration,
    handover: Duration,
    has_children: bool,
}

impl Terms {
    fn of(config: &Config) -> Self {
        Self {
            reconcile: config.spawner.docker.reconcile_interval.0,
            drain: config.listen.drain_timeout.0,
            handover: config.listen.handover_timeout.0,
            has_children: config.spawner.kind == SpawnerKind::InsecureProcess,
        }
    }
}

/// A process that serves.
struct Life<'a> {
    app: &'a App,
    workers: &'a Workers,
    admin: Option<Socket>,
    program: Option<Program>,
    /// What it has taken over from.
    before: Option<Before>,
    terms: Terms,
}

impl Life<'_> {
    async fn live(self, mut asked: mpsc::Receiver<Upgrade>) -> Result<(), AppError> {
        let app = self.app;
        let watch = |kind| signal(kind).map_err(AppError::Signals);
        let (mut hangup, mut upgrade) = (watch(SignalKind::hangup())?, watch(SignalKind::user_defined2())?);
        let (mut terminate, mut interrupt) =
            (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
        let stopping = app.tasks.stopping();
        self.begin_turn();
        info!(event = "ready", version = env!("CARGO_PKG_VERSION"), "hubgate is ready");
        notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
        loop {
            let order = tokio::select! {
                Some(()) = hangup.recv() => { reload(app); continue }
                Some(()) = upgrade.recv() => None,
                Some(order) = asked.recv() => Some(order),
                () = end(&mut terminate, &mut interrupt) => break,
                // An administrator's order by the API.
                () = stopping.cancelled() => break,
            };
            let attempt = self.hand_over(order);
            let handed = tokio::select! {
                handed = attempt => handed?,
                () = end(&mut terminate, &mut interrupt) => break,
            };
            if let Some(handed) = handed {
                drop(asked);
                return self.linger(handed, (terminate, interrupt)).await;
            }
        }
        self.stop(terminate, interrupt).await;
        Ok(())
    }

    /// What runs as long as this process serves.
    fn begin_turn(&self) {
        start_timers(self.app, self.terms.reconcile);
        if let Some(socket) = &self.admin {
            self.app.tasks.spawn(self.app.control.clone().serve(socket, &self.app.tasks));
        }
    }

    /// Lets another process take over; `None`: it could not, and this one goes on.
    async fn hand_over(&self, order: Option<Upgrade>) -> Result<Option<Handed>, AppError> {
        let handover = Handover {
            app: self.app,
            workers: self.workers,
            admin: self.admin.as_ref(),
            program: self.program.as_ref(),
            has_children: self.terms.has_children,
        };
        let (outcome, answer) = match handover.attempt().await {
            Ok(handed) => {
                let (pid, version) = (handed.pid, handed.version.clone());
                (Some(handed), Ok(Upgraded { pid, version }))
            }
            Err(Failed { error, left }) => {
                let remedy = error.remedy();
                error!(
                    event = "handover_failed",
                    error = cause(&error),
                    remedy,
                    "another hubgate could not take over: this one goes on"
                );
                handover.take_back(left).await?;
                if left != Left::Nothing {
                    self.begin_turn();
                }
                (None, Err(NotUpgraded { why: chain(&error), remedy }))
            }
        };
        if let Some(Upgrade(sender)) = order {
            // Whoever asked may be gone.
            drop(sender.send(answer));
        }
        Ok(outcome)
    }

    /// Another process serves now. This one keeps what is open.
    async fn linger(mut self, mut handed: Handed, signals: (Signal, Signal)) -> Result<(), AppError> {
        let (mut terminate, mut interrupt) = signals;
        self.workers.handed.cancel();
        // In this order: what the new one says to the service manager counts from then on.
        notify(&[NotifyState::MainPid(handed.pid)]);
        let told = handed.tell_main().await;
        info!(
            event = "handed_over",
            pid = handed.pid,
            version = handed.version,
            open = self.app.metrics.tunnels.get(),
            "another hubgate serves now; this one keeps what is open"
        );
        if told.is_ok()
            && let Some(socket) = &mut self.admin
        {
            socket.leave();
        }
        self.admin = None;
        self.workers.close();
        self.app.gateway.leave_access_tokens();
        let linger = linger(Linger {
            app: self.app,
            link: handed.link,
            before: self.before,
            limit: self.terms.handover,
        });
        tokio::select! {
            () = linger => {}
            () = end(&mut terminate, &mut interrupt) => warn!(event = "stopped", "what is open from before the upgrade is cut off"),
        }
        Ok(())
    }

    async fn stop(self, mut terminate: Signal, mut interrupt: Signal) {
        let app = self.app;
        info!(event = "stopping", open = app.tasks.running(), "hubgate stops");
        notify(&[NotifyState::Stopping]);
        app.tasks.stop();
        self.workers.close();
        drop(self.admin);
        let began = Instant::now();
        tokio::select! {
            () = app.tasks.ended() => info!(event = "stopped", elapsed = ?began.elapsed(), "every connection has ended"),
            () = tokio::time::sleep(self.terms.drain) => warn!(event = "stopped", open = app.tasks.running(), "connections are cut off"),
            () = end(&mut terminate, &mut interrupt) => warn!(event = "stopped", "a second signal: at once"),
        }
        sweep(&app.sessions, &app.api_tokens, &app.shares, &app.gateway, &app.workspaces).await;
    }
}

/// An error and its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Ends what is over, and writes down what was used.
pub(super) async fn sweep(
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
    let (workspaces, resting) = (app.workspaces.clone(), app.tasks.turn().resting);
    app.tasks.spawn(async move { resting.run_until_cancelled(workspaces.prepull()).await });
    let (sessions, api_tokens, gateway) = (app.sessions.clone(), app.api_tokens.clone(), app.gateway.clone());
    let (shares, workspaces, tasks) = (app.shares.clone(), app.workspaces.clone(), app.tasks.clone());
    let resting = tasks.turn().resting;
    app.tasks.spawn(async move {
        while let Some(()) = resting.run_until_cancelled(tokio::time::sleep(SWEEP)).await {
            let _writing = tasks.writing();
            sweep(&sessions, &api_tokens, &shares, &gateway, &workspaces).await;
        }
    });
    let (workspaces, resting) = (app.workspaces.clone(), app.tasks.turn().resting);
    app.tasks.spawn(async move {
        while let Some(()) = resting.run_until_cancelled(tokio::time::sleep(SWEEP)).await {
            resting.run_until_cancelled(workspaces.ask_idle()).await;
        }
    });
    let (sessions, shares, resting) = (app.sessions.clone(), app.shares.clone(), app.tasks.turn().resting);
    app.tasks.spawn(async move {
        while let Some(()) = resting.run_until_cancelled(tokio::time::sleep(RENEW)).await {
            sessions.renew_due();
            shares.expire();
        }
    });
    for (name, provider) in app.providers.iter() {
        let (name, provider, resting) = (Arc::clone(name), provider.clone(), app.tasks.turn().resting);
        app.tasks.spawn(async move {
            let find = until_ready(&name, &provider);
            resting.run_until_cancelled(find).await;
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

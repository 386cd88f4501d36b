//! Builds every part from the configuration, in order; runs; reloads on SIGHUP; drains on SIGTERM.

mod handover;
mod hooks;
mod run;
mod workers;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::control::{self, Control, SocketError, Upgrade};
use crate::explain::Explainer;
use crate::forward::{Deadlines, Forwarder};
use crate::gateway::{self, Bearers, Beside, Gateway, Hosts, Origin, Redirect};
use crate::groups::Groups;
use crate::listener::{ListenError, Listener};
use crate::logging::{self, LogError};
use crate::mapping::Mapping;
use crate::metrics::{Kind, Metrics};
use crate::oidc::{OidcError, Provider, Providers, StepUp};
use crate::people::People;
use crate::seal::Sealer;
use crate::secret::SecretError;
use crate::session::{self, Sessions};
use crate::share::Shares;
use crate::spawner::{self, Heir, SpawnError, Spawner};
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;
use crate::tls::{Certificates, TlsError};
use crate::token::{ApiTokens, Right};
use crate::user::UserName;
use crate::workspace::{self, NamedServers, Place, Uses, Workspaces};

use self::hooks::Hooks;

pub use handover::{HandoverError, Program, begin};
pub use run::{run, take_over};

/// hubgate cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppError {
    /// No log, no start.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A runtime of tokio.
    #[error("cannot start a worker")]
    Runtime(#[source] std::io::Error),
    /// A signal that cannot be handled.
    #[error("cannot watch for signals")]
    Signals(#[source] std::io::Error),
    /// A secret that cannot be had.
    #[error("cannot read what proves to the provider who we are")]
    Secret(#[from] SecretError),
    /// Certificates.
    #[error("cannot use the certificates")]
    Tls(#[from] TlsError),
    /// Sockets.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin socket.
    #[error("cannot open the admin socket")]
    Control(#[from] SocketError),
    /// The store.
    #[error("cannot open the store")]
    Store(#[from] StoreError),
    /// The provider's settings.
    #[error("cannot use the provider's settings")]
    Provider(#[from] OidcError),
    /// The spawner's settings.
    #[error("cannot use the spawner's settings")]
    Spawner(#[from] SpawnError),
    /// Another process that runs, or is to run.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

impl AppError {
    /// Whether another configuration is all it takes; starting again with the same one does not help.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Log(_) | Self::Secret(_) | Self::Tls(_) | Self::Provider(_) => true,
            Self::Runtime(_)
            | Self::Signals(_)
            | Self::Listen(_)
            | Self::Control(_)
            | Self::Store(_)
            | Self::Handover(_)
            | Self::Spawner(_) => false,
        }
    }

    /// What an administrator can do.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Log(_) => Some("write error, warn, info or debug"),
            Self::Runtime(_) | Self::Signals(_) => None,
            Self::Secret(error) => Some(error.remedy()),
            Self::Tls(error) => Some(error.remedy()),
            Self::Listen(error) => Some(error.remedy()),
            Self::Control(error) => Some(error.remedy()),
            Self::Store(_) => Some("let hubgate's user own store.folder, and see that there is space"),
            Self::Provider(error) => Some(error.remedy()),
            Self::Spawner(error) => Some(error.remedy()),
            Self::Handover(error) => Some(error.remedy()),
        }
    }
}

/// Everything that runs.
struct App {
    tasks: Tasks,
    metrics: Metrics,
    clock: Clock,
    certificates: Certificates,
    providers: Providers,
    /// Where what proves to them who we are is read again.
    credentials: Vec<config::Provider>,
    sessions: Sessions,
    api_tokens: ApiTokens,
    shares: Shares,
    workspaces: Workspaces,
    gateway: Gateway,
    control: Control,
    admin: Arc<Admin>,
    redirect: Arc<Redirect>,
    listener: Arc<Listener>,
    watched: Arc<Listener>,
}

/// What most parts are made with.
struct Base {
    tasks: Tasks,
    metrics: Metrics,
    clock: Clock,
    store: Store,
    sealer: Arc<Sealer>,
    bearers: Arc<Bearers>,
    shares: Shares,
}

impl Base {
    async fn workspaces(
        &self,
        config: &Config,
        spawner: &Arc<dyn Spawner>,
        forwarder: &Forwarder,
    ) -> Result<Workspaces, StoreError> {
        let workspaces = Workspaces::new(workspace::Parts {
            place: place(config),
            prepull: config.spawner.docker.prepull,
            profiles: config.profile.clone(),
            spawner: Arc::clone(spawner),
            forwarder: forwarder.clone(),
            sealer: Arc::clone(&self.sealer),
            public: config.public.url.clone(),
            named: NamedServers::new(self.store.clone(), config.spawner.named_servers),
            uses: Uses::new(self.store.clone()),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            tasks: self.tasks.clone(),
        });
        workspaces.restore().await?;
        Ok(workspaces)
    }

    fn hooks(
        &self,
        mapping: &Mapping,
        people: &People,
        api_tokens: &ApiTokens,
        workspaces: &Workspaces,
    ) -> Hooks {
        Hooks {
            mapping: mapping.clone(),
            people: people.clone(),
            api_tokens: api_tokens.clone(),
            bearers: Arc::clone(&self.bearers),
            shares: self.shares.clone(),
            workspaces: workspaces.clone(),
            tasks: self.tasks.clone(),
        }
    }

    fn sessions(&self, config: &config::Session, providers: &Providers, hooks: Hooks) -> Sessions {
        Sessions::new(session::Parts {
            judge: hooks.judge(),
            tell: hooks.tell(),
            config: config.clone(),
            providers: providers.clone(),
            store: self.store.clone(),
            sealer: Arc::clone(&self.sealer),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            tasks: self.tasks.clone(),
        })
    }
}

/// Before anybody is looked for by the name that their provider has now.
async fn rename_issuers(store: &Store, providers: &[config::Provider]) -> Result<(), AppError> {
    for provider in providers {
        let Some(issuer) = &provider.issuer else { continue };
        for former in &provider.former_issuers {
            let people = store.rename_issuer(former, issuer).await?;
            if people > 0 {
                info!(people, former, issuer, "people of a provider that has another name now");
            }
        }
    }
    Ok(())
}

/// The store, and what seals what is secret in it.
async fn open(config: &Config) -> Result<(Store, Arc<Sealer>), AppError> {
    let store = Store::open(&config.store.folder).await?;
    rename_issuers(&store, &config.provider).await?;
    let sealer = Sealer::new(&Store::sealing_key(&config.store.folder)?);
    Ok((store, Arc::new(sealer)))
}

/// What is read from the store at start needs this.
struct Kept<'a> {
    store: &'a Store,
    sealer: &'a Arc<Sealer>,
    clock: &'a Clock,
    metrics: &'a Metrics,
}

impl Kept<'_> {
    /// Who is known, and what tokens, groups and shares there are.
    async fn restored(
        &self,
        config: &Config,
        mapping: &Mapping,
    ) -> Result<(People, ApiTokens, Groups, Shares), AppError> {
        let (store, sealer, clock) =
            (|| self.store.clone(), || Arc::clone(self.sealer), || self.clock.clone());
        let people = People::new(store(), sealer(), clock());
        let api_tokens = ApiTokens::new(&config.api, store(), sealer(), clock(), self.metrics.clone());
        let groups = Groups::new(store(), sealer());
        restore_groups(&groups, &people, mapping).await?;
        let shares = Shares::new(&config.sharing, groups.clone(), store(), sealer(), clock());
        restore(&api_tokens, &shares, &people, mapping).await?;
        Ok((people, api_tokens, groups, shares))
    }
}

/// What there is before its parts.
struct Process {
    workers: usize,
    tasks: Tasks,
    /// Orders to let another one take over.
    upgrades: mpsc::Sender<Upgrade>,
}

/// Every part, in the order in which they need each other. Asks neither the provider nor the runtime anything: both
/// may be down.
async fn build(mut config: Config, Process { workers, tasks, upgrades }: Process) -> Result<App, AppError> {
    let (metrics, clock) = (Metrics::new(), Clock::system());
    config.spawner.docker.hosts = config.docker_hosts();
    tell_insecure(&config, &metrics);
    let certificates = certificates(&config.certificate, &clock, &metrics)?;
    let (store, sealer) = open(&config).await?;
    let providers = providers(&config, &clock)?;
    let (origins, strangers) = (hosts(&config), strangers(&config.listen));
    let spawner = spawner::open(&config.spawner, Some(heir(&config)), metrics.clone());
    let forwarder = Forwarder::new(&config.forward, strangers, workers, tasks.clone(), metrics.clone());
    let explainer = Explainer::new(&config);
    let kept = Kept { store: &store, sealer: &sealer, clock: &clock, metrics: &metrics };
    let (people, api_tokens, groups, shares) = kept.restored(&config, explainer.mapping()).await?;
    let bearers = Arc::new(Bearers::new(clock.clone()));
    let base = Base { tasks, metrics, clock, store, sealer, bearers, shares };
    let workspaces = base.workspaces(&config, &spawner, &forwarder).await?;
    let hooks = base.hooks(explainer.mapping(), &people, &api_tokens, &workspaces);
    let sessions = base.sessions(&config.session, &providers, hooks);
    sessions.restore().await?;
    let Base { tasks, metrics, clock, store, sealer, bearers, shares } = base;
    let gateway = Gateway::new(gateway::Parts {
        hosts: origins.clone(),
        contact: config.public.contact.clone(),
        login_timeout: config.session.login_timeout.0,
        step_up: step_up(&config.admin),
        providers: providers.clone(),
        mapping: explainer.mapping().clone(),
        sessions: sessions.clone(),
        people: people.clone(),
        groups,
        api_tokens: api_tokens.clone(),
        shares: shares.clone(),
        bearers,
        store: store.clone(),
        workspaces: workspaces.clone(),
        beside: Beside::new(&config.route, &forwarder),
        forwarder,
        sealer,
        clock: clock.clone(),
        metrics: metrics.clone(),
        tasks: tasks.clone(),
    });
    let control = Control::new(control::Parts {
        sessions: sessions.clone(),
        api_tokens: api_tokens.clone(),
        shares: shares.clone(),
        workspaces: workspaces.clone(),
        people,
        gateway: gateway.clone(),
        explainer,
        clock: clock.clone(),
        upgrades,
    });
    let admin = Arc::new(Admin {
        providers: providers.clone(),
        spawner: Arc::clone(&spawner),
        store,
        tasks: tasks.clone(),
        metrics: metrics.clone(),
    });
    let (listener, watched) = listeners(&config, &certificates, &tasks, &metrics);
    Ok(App {
        tasks,
        metrics,
        clock,
        certificates,
        providers,
        credentials: config.provider,
        sessions,
        api_tokens,
        shares,
        workspaces,
        gateway,
        control,
        admin,
        redirect: Arc::new(Redirect::new(origins)),
        listener,
        watched,
    })
}

/// The certificates, and how long they are good is told.
fn certificates(
    config: &[config::Certificate],
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Certificates, AppError> {
    let certificates = Certificates::load(config)?;
    tell_validity(&certificates, clock, metrics);
    Ok(certificates)
}

/// The listener of the public sockets, and that of the operators'.
fn listeners(
    config: &Config,
    certificates: &Certificates,
    tasks: &Tasks,
    metrics: &Metrics,
) -> (Arc<Listener>, Arc<Listener>) {
    let listener = |tasks| {
        let (tls, hsts) = (certificates.server_config(), config.public.hsts.0);
        Arc::new(Listener::new(&config.listen, tls, hsts, tasks, metrics.clone()))
    };
    // The operators' tasks are nobody's to wait for: they watch the end, too.
    (listener(tasks.clone()), listener(Tasks::default()))
}

/// What administrators must prove, if it is more than others.
fn step_up(admin: &config::Admin) -> Option<StepUp> {
    let max_age = admin.max_age.map(|age| age.0.as_secs());
    let asked = !admin.acr_values.is_empty() || max_age.is_some();
    asked.then(|| StepUp { acr_values: admin.acr_values.clone(), max_age })
}

/// Takes the hub's own groups back, but for those whose names the provider has.
async fn restore_groups(groups: &Groups, people: &People, mapping: &Mapping) -> Result<(), AppError> {
    if groups.restore().await? == 0 {
        return Ok(());
    }
    let (since, mut told) = (groups.told(), HashSet::new());
    for (_, known) in people.everybody().await? {
        let theirs = mapping.groups(&known.provider, &known.identity);
        told.extend(theirs.iter().map(|group| Arc::clone(&group.path)));
    }
    groups.hide_only(since, |name| told.contains(name));
    Ok(())
}

/// Takes API tokens and shares back, and judges their owners by what the provider last said of them.
async fn restore(
    tokens: &ApiTokens,
    shares: &Shares,
    people: &People,
    mapping: &Mapping,
) -> Result<(), AppError> {
    let judge = async |name: &UserName| {
        let Some(known) = people.recall(name).await?.filter(|known| !known.barred) else { return Ok(None) };
        let user = mapping.user(&known.provider, &known.identity, name.clone()).ok();
        Ok(user.map(|user| Right { provider: known.provider.into(), user }))
    };
    tokens.restore(judge).await?;
    shares.restore(async |name: &UserName| Ok(judge(name).await?.is_some())).await?;
    Ok(())
}

fn providers(config: &Config, clock: &Clock) -> Result<Providers, AppError> {
    let provider = |provider: &config::Provider| {
        let callback = config.callback_of(provider);
        let built = Provider::new(provider, callback, provider.credential()?, clock.clone())?;
        Ok((provider.name().into(), built))
    };
    config.provider.iter().map(provider).collect::<Result<_, AppError>>().map(Providers::new)
}

/// The main origin is for all providers that have none of their own; where each has one, it is for all.
fn hosts(config: &Config) -> Hosts {
    let names = |own: bool| -> Vec<Arc<str>> {
        let providers = config.provider.iter().filter(|provider| provider.host.is_some() == own);
        providers.map(|provider| provider.name().into()).collect()
    };
    let shared = names(false);
    let main = Origin::new(&config.public.url, if shared.is_empty() { names(true) } else { shared });
    let own = config.provider.iter().filter(|provider| provider.host.is_some());
    let own = own.map(|provider| Origin::new(&config.origin_of(provider), [provider.name().into()]));
    Hosts::new(main, own.collect(), config.public.user_domain.clone())
}

/// How long whoever is not known may keep a connection to what is beside the hub, where nothing moves.
fn strangers(listen: &config::Listen) -> Deadlines {
    Deadlines { response: Duration::from_mins(5), body: listen.body_timeout.0 }
}

/// What workspaces are told of their surroundings.
fn place(config: &Config) -> Place {
    let port = config.public.url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let users = config.public.user_domain.as_ref();
    Place {
        public_url: config.public.url.origin().ascii_serialization(),
        user_origins: users.map(|users| format!("https://*.{}{port}", users.parent())),
        hub_api: config.hub_api.url(),
        routes: config.route_environment(),
        escape: config.spawner.escape,
        images: config.spawner.kind == config::SpawnerKind::Docker,
    }
}

/// What containers of a JupyterHub must have been told for hubgate to take them over.
fn heir(config: &Config) -> Heir {
    let Place { hub_api, public_url, user_origins, .. } = place(config);
    let image = |profile: &config::Profile| (profile.image.clone(), profile.name.as_str().into());
    Heir { hub_api, public_url, user_origins, images: config.profile.iter().map(image).collect() }
}

/// Certificates that clients will not accept are served all the same: an old one is better than no hub at all.
fn tell_validity(certificates: &Certificates, clock: &Clock, metrics: &Metrics) {
    for dated in certificates.dated(clock.now()) {
        warn!(event = "certificate_not_valid", "{dated}");
    }
    metrics.certificate_expiry.set(i64::try_from(certificates.expiry()).unwrap_or(i64::MAX));
}

/// Nobody relaxes a protection without being reminded of it.
fn tell_insecure(config: &Config, metrics: &Metrics) {
    for option in config.insecure_options() {
        warn!(option, "a protection is relaxed");
        metrics.insecure_options.get_or_create(&Kind { kind: option }).set(1);
    }
}

/// Begins logging as the configuration says.
fn start_log(log: &config::Log) -> Result<(), LogError> {
    let format = match log.format {
        config::LogFormat::Text => logging::Format::Text,
        config::LogFormat::Json => logging::Format::Json,
    };
    logging::start(format, &log.filter, log.requests)
}

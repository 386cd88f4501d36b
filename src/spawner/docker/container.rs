//! A workspace as the engine knows it: what a container is made from, and what its labels say. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, ImageConfig, Mount, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};

use crate::clock::Timestamp;
use crate::config::{Mode, Preset};
use crate::server_name::ServerName;
use crate::spawner::{Running, Spec, WorkspaceId};
use crate::user::UserName;

pub(super) const USER: &str = "io.hubgate.user";
pub(super) const SERVER: &str = "io.hubgate.server";
const PROFILE: &str = "io.hubgate.profile";
const SPEC: &str = "io.hubgate.spec";
pub(super) const INSTANCE: &str = "io.hubgate.instance";
const MODE: &str = "io.hubgate.mode";
const PRESET: &str = "io.hubgate.preset";
const PORT: &str = "io.hubgate.port";

/// Labels as the engine gives them.
pub(super) type Labels = HashMap<String, String>;

/// The workspace whose container carries these labels.
pub(super) fn id_of(labels: &Labels) -> Option<WorkspaceId> {
    let user = UserName::parse(labels.get(USER)?).ok()?;
    Some(WorkspaceId { user, server: ServerName::parse(labels.get(SERVER)?).ok()? })
}

/// What the labels of a running container say, where it is, and when it was made.
pub(super) fn running(labels: &Labels, address: IpAddr, made: Option<Timestamp>) -> Option<Running> {
    Some(Running {
        id: id_of(labels)?,
        instance: labels.get(INSTANCE)?.as_str().into(),
        profile: labels.get(PROFILE)?.as_str().into(),
        mode: match labels.get(MODE)?.as_str() {
            "token" => Mode::Token,
            "hub" => Mode::Hub,
            _ => return None,
        },
        preset: labels.get(PRESET).and_then(|name| Preset::named(name)),
        address: SocketAddr::new(address, labels.get(PORT)?.parse().ok()?),
        adopted: None,
        made,
    })
}

/// The address of a container on `network`.
pub(super) fn address_on(
    network: &str,
    networks: Option<&HashMap<String, EndpointSettings>>,
) -> Option<IpAddr> {
    if network == "host" {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let endpoint = networks?.get(network)?;
    let parse = |address: &Option<String>| address.as_deref()?.parse().ok();
    parse(&endpoint.ip_address).or_else(|| parse(&endpoint.global_ipv6_address))
}

/// What the engine is asked to make.
pub(super) fn body(
    spec: &Spec,
    image: &ImageConfig,
    network: (&str, &[String]),
    podman: bool,
) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: spec.command.clone(),
        env: Some(spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: spec.user.clone(),
        labels: Some(labels(spec)),
        stop_timeout: i64::try_from(spec.stop_timeout.as_secs()).ok(),
        host_config: Some(host_config(spec, image, network, podman)),
        ..ContainerCreateBody::default()
    }
}

fn labels(spec: &Spec) -> Labels {
    let mode = match spec.mode {
        Mode::Token => "token",
        Mode::Hub => "hub",
    };
    [
        (USER, spec.id.user.as_str()),
        (SERVER, spec.id.server.as_str()),
        (PROFILE, &spec.profile),
        (SPEC, &fingerprint(spec)),
        (INSTANCE, &spec.instance),
        (MODE, mode),
        (PRESET, spec.preset.name()),
        (PORT, &spec.port.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn host_config(
    spec: &Spec,
    image: &ImageConfig,
    (network, hosts): (&str, &[String]),
    podman: bool,
) -> HostConfig {
    let memory = spec.limits.memory.and_then(|bytes| i64::try_from(bytes).ok());
    HostConfig {
        memory,
        // Memory and swap together: equal, or swap would lift the limit.
        memory_swap: memory,
        cpu_period: spec.limits.cpu.map(|_| CPU_PERIOD),
        // Not NanoCpus: with it the engine refuses more processors than the machine has.
        cpu_quota: spec.limits.cpu.and_then(cpu_quota),
        pids_limit: spec.pids.and_then(|count| i64::try_from(count).ok()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        // An image that starts as root changes owners and then its user (docker-stacks with NB_UID, AiiDAlab's
        // my_init): it needs CHOWN, SETUID and more of the engine's own default set. Everybody else needs none.
        cap_drop: (!runs_as_root(spec, image)).then(|| vec!["ALL".to_owned()]),
        init: Some(!has_init(spec, image)),
        // Podman's drivers have other names and rotate by themselves.
        log_config: (!podman).then(log_config),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        network_mode: Some(network.to_owned()),
        extra_hosts: (!hosts.is_empty()).then(|| hosts.to_vec()),
        mounts: Some(spec.mounts.iter().map(mount).collect()),
        ..HostConfig::default()
    }
}

fn log_config() -> HostConfigLogConfig {
    let options = [("max-size", "10m"), ("max-file", "3")];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
    }
}

fn mount(mount: &crate::spawner::Mount) -> Mount {
    Mount {
        typ: Some(if is_path(&mount.source) { MountType::BIND } else { MountType::VOLUME }),
        source: Some(mount.source.clone()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    }
}

/// Whether a mount's source is a path on the host, and not a volume.
pub(super) fn is_path(source: &str) -> bool {
    source.starts_with('/')
}

/// Microseconds: the kernel's default period.
const CPU_PERIOD: i64 = 100_000;

/// Microseconds of processor time in each period.
fn cpu_quota(processors: f64) -> Option<i64> {
    // So many processors are so many seconds of processor time a second: a tenth of that, every tenth.
    let quota = Duration::try_from_secs_f64(processors / 10.0).ok()?.as_micros();
    // The kernel refuses less than a millisecond.
    i64::try_from(quota).ok().map(|quota| quota.max(1000))
}

/// Whether the first process runs as root, as far as the image's configuration tells.
fn runs_as_root(spec: &Spec, image: &ImageConfig) -> bool {
    let user = spec.user.as_deref().or(image.user.as_deref()).unwrap_or_default();
    let name = user.split(':').next().unwrap_or_default();
    matches!(name, "" | "root" | "0")
}

/// Whether the image brings a process of its own that reaps and forwards signals. Some (`my_init`, s6) must be the
/// first process and do not start behind another. `AiiDAlab`'s `my_my_init` is none: a shell script, which as the first
/// process would never hear that it is to stop.
fn has_init(spec: &Spec, image: &ImageConfig) -> bool {
    let entrypoint = image.entrypoint.as_deref().unwrap_or_default();
    let command = spec.command.as_deref().or(image.cmd.as_deref()).unwrap_or_default();
    let first = entrypoint.iter().chain(command).next().map_or("", String::as_str);
    matches!(
        first.rsplit('/').next(),
        Some(
            "tini"
                | "tini-static"
                | "dumb-init"
                | "docker-init"
                | "catatonit"
                | "my_init"
                | "init"
                | "systemd"
        )
    )
}

/// Changes when anything but secrets and the start itself changes. Of the environment only the names count: the
/// values hold tokens, which are new every time.
fn fingerprint(spec: &Spec) -> String {
    let names: Vec<&String> = spec.environment.keys().collect();
    let parts = format!(
        "{:?}",
        (
            (&spec.profile, spec.mode, &spec.image, &spec.command, names),
            (spec.port, &spec.user, &spec.mounts, spec.limits, spec.pids, spec.stop_timeout),
        )
    );
    let hash = digest::digest(&digest::SHA256, parts.as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::spawner::{Purpose, PutFile};
    use crate::user::Limits;

    fn spec() -> Spec {
        Spec {
            id: WorkspaceId {
                user: UserName::parse("anna@epfl.ch").unwrap(),
                server: ServerName::parse("gpu").unwrap(),
            },
            instance: "i1".into(),
            profile: "lab".into(),
            mode: Mode::Token,
            preset: Preset::AiidalabFullStack,
            image: "lab:1".to_owned(),
            command: None,
            environment: [("JUPYTER_TOKEN".to_owned(), "t1".to_owned())].into(),
            port: 8888,
            user: None,
            mounts: Vec::new(),
            files: Vec::new(),
            limits: Limits { memory: Some(1 << 30), cpu: Some(1.5) },
            pids: Some(100),
            stop_timeout: Duration::from_secs(10),
        }
    }

    fn image(user: &str, entrypoint: &[&str]) -> ImageConfig {
        ImageConfig {
            user: Some(user.to_owned()),
            entrypoint: Some(entrypoint.iter().map(|&part| part.to_owned()).collect()),
            ..ImageConfig::default()
        }
    }

    fn host(spec: &Spec, image: &ImageConfig) -> HostConfig {
        body(spec, image, ("hubgate", &[]), false).host_config.unwrap()
    }

    #[test]
    fn labels_say_who_it_is() {
        let address = IpAddr::V4(Ipv4Addr::new(172, 20, 0, 2));
        let running = running(&labels(&spec()), address, Some(7)).unwrap();
        assert_eq!(running.id, spec().id);
        assert_eq!((&*running.instance, &*running.profile, running.mode), ("i1", "lab", Mode::Token));
        assert_eq!(running.preset, Some(Preset::AiidalabFullStack));
        assert_eq!((running.address.to_string().as_str(), running.made), ("172.20.0.2:8888", Some(7)));
    }

    #[test]
    fn swap_does_not_lift_the_memory_limit() {
        let host = host(&spec(), &image("1000", &[]));
        assert_eq!((host.memory, host.memory_swap), (Some(1 << 30), Some(1 << 30)));
        assert_eq!((host.cpu_quota, host.cpu_period), (Some(150_000), Some(100_000)));
        assert_eq!(host.pids_limit, Some(100));
    }

    #[test]
    fn only_root_keeps_the_default_capabilities() {
        for (user, root) in
            [("", true), ("root", true), ("0:0", true), ("jovyan", false), ("1000:100", false)]
        {
            let host = host(&spec(), &image(user, &[]));
            assert_eq!(host.cap_drop.is_none(), root, "{user:?}");
            assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        }
        let as_user = Spec { user: Some("1000:100".to_owned()), ..spec() };
        assert!(host(&as_user, &image("root", &[])).cap_drop.is_some());
    }

    #[test]
    fn an_image_with_an_init_gets_no_second_one() {
        assert_eq!(host(&spec(), &image("1000", &["tini", "-g", "--"])).init, Some(false));
        assert_eq!(host(&spec(), &image("1000", &["/usr/bin/tini"])).init, Some(false));
        assert_eq!(host(&spec(), &image("1000", &["start.sh"])).init, Some(true));
        let classic = ImageConfig { cmd: Some(vec!["/sbin/my_my_init".to_owned()]), ..image("", &[]) };
        assert_eq!(host(&spec(), &classic).init, Some(true), "a script that passes no signal on");
    }

    #[test]
    fn the_fingerprint_knows_no_secret_and_no_start() {
        let before = fingerprint(&spec());
        let mut later = Spec { instance: "i2".into(), ..spec() };
        later.environment.insert("JUPYTER_TOKEN".to_owned(), "t2".to_owned());
        assert_eq!(fingerprint(&later), before);
        let path = "/run/hubgate/access_token".to_owned();
        later.files.push(PutFile {
            path,
            owner: None,
            content: Secret::new("t2"),
            purpose: Purpose::AccessToken,
        });
        assert_eq!(fingerprint(&later), before);
        let made = format!("{:?}", body(&later, &image("1000", &[]), ("hubgate", &[]), false));
        assert_eq!(made.matches("t2").count(), 1, "a file came into the container's description: {made}");
        later.limits.memory = Some(2 << 30);
        assert_ne!(fingerprint(&later), before);
    }

    #[test]
    fn a_fraction_of_a_processor_is_a_quota() {
        assert_eq!(cpu_quota(0.5), Some(50_000));
        assert_eq!(cpu_quota(64.0), Some(6_400_000));
        assert_eq!(cpu_quota(0.0001), Some(1000));
        assert_eq!(cpu_quota(-1.0), None);
    }
}

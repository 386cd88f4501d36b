//! What a workspace is started with: profile, user and image become a [`Spec`]. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StartError;
use crate::config::{self, Escape, Limit, Mode, Piece, Preset};
use crate::preset::{self, Settled};
use crate::secret::Secret;
use crate::spawner::{Image, Mount, Purpose, PutFile, Spec, WorkspaceId, escape, escape_server};
use crate::user::{Limits, User, UserName};

/// What a workspace is told of its surroundings.
#[derive(Debug, Clone)]
pub struct Place {
    /// The hub's origin, without a slash at its end.
    pub public_url: String,
    /// Where users have hosts of their own: their origins, with `*` for the label.
    pub user_origins: Option<String>,
    /// Where containers reach the hub API: `http://172.17.0.1:8081/hub/api`. None: no hub for containers.
    pub hub_api: Option<String>,
    /// Variables with URLs of what is beside the hub, as containers reach it.
    pub routes: Vec<(String, String)>,
    /// How user names are written in names of volumes.
    pub escape: Escape,
    /// Workspaces have images; else they are child processes whose port the spawner chooses.
    pub images: bool,
}

impl Place {
    /// The origin at which browsers reach this user's workspaces.
    fn origin_of(&self, user: &UserName) -> String {
        self.user_origins
            .as_ref()
            .map_or_else(|| self.public_url.clone(), |origins| origins.replace('*', &user.label()))
    }
}

/// Everything that a start of this workspace needs.
pub(super) fn spec(
    id: &WorkspaceId,
    user: &User,
    profile: &config::Profile,
    image: &Image,
    place: &Place,
    instance: &Arc<str>,
    token: &Secret,
) -> Result<Spec, StartError> {
    let preset = preset::find(profile, image).preset;
    let (mode, _) = preset::mode(profile, preset, image);
    let (port, _) = preset::port(profile, preset, image);
    let settled = preset::settle(profile, preset);
    let limits = user.limits(profile);
    let blanks = Blanks::new(id, &settled, port, place);
    let mut environment = limits_environment(limits);
    environment.extend(place.routes.iter().cloned());
    if place.images {
        // DockerSpawner's: dashboards and start scripts show it.
        environment.insert("JUPYTER_IMAGE_SPEC".to_owned(), profile.image.clone());
    }
    match mode {
        Mode::Token => environment.extend(token_environment(id, token)),
        Mode::Hub => environment.extend(hub_environment(id, &profile.image, place, &blanks, token)?),
    }
    let said = |name: &str| profile.environment.contains_key(name);
    let own = preset::environment(preset, mode, image, profile).into_iter().filter(|(name, _)| !said(name));
    environment.extend(own.filter_map(|(name, value)| Some((name.to_owned(), blanks.tell(value, user)?))));
    let file = access_token_path(profile, place);
    environment.extend(file.map(|path| ("HUBGATE_ACCESS_TOKEN_FILE".to_owned(), path)));
    let told = |(name, value): (&String, &String)| Some((name.clone(), blanks.tell(value, user)?));
    environment.extend(profile.environment.iter().filter_map(told));
    if mode == Mode::Token {
        // With it, images look for a hub.
        environment.remove("JUPYTERHUB_API_TOKEN");
    }
    Ok(Spec {
        id: id.clone(),
        instance: Arc::clone(instance),
        profile: profile.name.as_str().into(),
        mode,
        preset,
        image: profile.image.clone(),
        command: command(profile, (preset, image), mode, place, &blanks)?,
        environment,
        port: if place.images { port } else { 0 },
        user: profile.user.clone(),
        mounts: mounts(profile, id, place.escape),
        files: settings_file(profile, (preset, mode), &blanks, token).into_iter().collect(),
        limits,
        pids: match profile.pids {
            Limit::Value(count) => Some(count),
            Limit::Unlimited => None,
        },
        stop_timeout: settled.stop_timeout,
    })
}

/// The file with a user's access token, if the profile asks for one: empty while there is none.
pub(super) fn access_token_file(
    profile: &config::Profile,
    place: &Place,
    token: Option<&Secret>,
) -> Option<PutFile> {
    let content = token.cloned().unwrap_or_else(|| Secret::new(""));
    let owner = profile.access_token_owner.as_deref().and_then(owner);
    let path = access_token_path(profile, place)?;
    Some(PutFile { path, owner, content, purpose: Purpose::AccessToken })
}

fn access_token_path(profile: &config::Profile, place: &Place) -> Option<String> {
    let path = profile.access_token_file.as_ref()?;
    if place.images {
        return Some(path.clone());
    }
    // A spawner without containers chooses the folder, and fills it in itself.
    let name = path.rsplit('/').next().unwrap_or(path);
    Some(format!("{{runtime}}/{name}"))
}

/// What a Jupyter server that takes no arguments is told before it starts. Its user alone reads it: the token is in it,
/// since what such an image starts first hands no environment on.
fn settings_file(
    profile: &config::Profile,
    (preset, mode): (Preset, Mode),
    blanks: &Blanks,
    token: &Secret,
) -> Option<PutFile> {
    let (path, owner) = preset::settings_file(preset, profile).filter(|_| mode == Mode::Token)?;
    let settings = serde_json::json!({ "NotebookApp": {
        "ip": blanks.ip,
        "port_retries": 0,
        "base_url": blanks.base_url,
        "token": token.expose(),
        "open_browser": false,
        "allow_remote_access": true,
        "trust_xheaders": true,
        "quit_button": false,
    } });
    let content = Secret::new(settings.to_string());
    Some(PutFile { path: path.to_owned(), owner: Some(owner), content, purpose: Purpose::Settings })
}

fn command(
    profile: &config::Profile,
    (preset, image): (Preset, &Image),
    mode: Mode,
    place: &Place,
    blanks: &Blanks,
) -> Result<Option<Vec<String>>, StartError> {
    let own =
        profile.command.as_ref().map(|words| words.iter().map(|word| blanks.fill(word)).collect::<Vec<_>>());
    if own.is_none() && !place.images {
        return Err(StartError::NoCommand { profile: profile.name.clone() });
    }
    if mode == Mode::Hub || matches!(preset, Preset::Web | Preset::AiidalabClassic) {
        return Ok(own);
    }
    let words =
        own.as_ref().map_or_else(|| image.command.get(image.entrypoint..).unwrap_or_default(), Vec::as_slice);
    let says = |text: &str| words.iter().any(|word| word.contains(text));
    let jupyter = says("jupyter") || says("start-notebook");
    if !jupyter || says("base_url") {
        return Ok(own);
    }
    let mut words = words.to_vec();
    for app in preset::applications(preset, image, profile) {
        words.extend(JUPYTER_ARGUMENTS.iter().map(|argument| format!("--{app}.{}", blanks.fill(argument))));
    }
    Ok(Some(words))
}

/// What an ordinary Jupyter server is told. Its token comes in the environment, where `ps` does not show it.
const JUPYTER_ARGUMENTS: &[&str] = &[
    "ip={ip}",
    "port={port}",
    "port_retries=0",
    "base_url={base_url}",
    "open_browser=False",
    "allow_remote_access=True",
    "trust_xheaders=True",
    "quit_button=False",
];

/// The placeholders of commands and environments.
struct Blanks {
    base_url: String,
    username: String,
    port: String,
    default_url: String,
    ip: &'static str,
}

impl Blanks {
    fn new(id: &WorkspaceId, settled: &Settled, port: u16, place: &Place) -> Self {
        Self {
            base_url: id.path(),
            username: id.user.to_string(),
            // A spawner that chooses the port fills it in itself.
            port: if place.images { port.to_string() } else { "{port}".to_owned() },
            default_url: settled.default_url.clone(),
            ip: if place.images { "0.0.0.0" } else { "127.0.0.1" },
        }
    }

    fn fill(&self, text: &str) -> String {
        if !text.contains('{') {
            return text.to_owned();
        }
        text.replace("{base_url}", &self.base_url)
            .replace("{username}", &self.username)
            .replace("{port}", &self.port)
            .replace("{default_url}", &self.default_url)
            .replace("{ip}", self.ip)
    }

    /// The same, with what the provider says of the user: nothing, where a claim is not there. What a claim says is
    /// never looked at for placeholders again.
    fn tell(&self, text: &str, user: &User) -> Option<String> {
        let pieces = config::pieces(text).into_iter();
        pieces
            .map(|piece| match piece {
                Piece::Text(text) => Some(self.fill(text)),
                Piece::Claim(name) => user.claims.text(name).map(str::to_owned),
            })
            .collect()
    }
}

/// What a workspace of this profile sees of the machine.
pub fn mounts(profile: &config::Profile, id: &WorkspaceId, how: Escape) -> Vec<Mount> {
    profile.volume.iter().map(|volume| mount(volume, id, how)).collect()
}

fn mount(volume: &config::Volume, id: &WorkspaceId, how: Escape) -> Mount {
    let source = volume
        .source
        .replace("{username}", &escape(&id.user, how))
        .replace("{raw_username}", id.user.as_str())
        .replace("{servername}", &escape_server(&id.server, how));
    Mount {
        source,
        target: volume.target.clone(),
        owner: owner(&volume.owner).unwrap_or((1000, 100)),
        read_only: volume.read_only,
    }
}

/// `uid:gid`
fn owner(text: &str) -> Option<(u32, u32)> {
    let (uid, gid) = text.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Numerical libraries count the machine's processors, not the container's share, and would start a thread for each.
fn limits_environment(limits: Limits) -> BTreeMap<String, String> {
    const THREADS: &[&str] = &[
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "RAYON_NUM_THREADS",
        "JULIA_NUM_THREADS",
        // AiiDA's own: `verdi computer setup` of the AiiDAlab images.
        "LOCALHOST_MPI_PROCS_PER_MACHINE",
    ];
    let mut environment = BTreeMap::new();
    if let Some(cpu) = limits.cpu {
        let threads = format!("{:.0}", cpu.floor().max(1.0));
        environment.extend(THREADS.iter().map(|name| ((*name).to_owned(), threads.clone())));
        environment.insert("CPU_LIMIT".to_owned(), cpu.to_string());
    }
    if let Some(memory) = limits.memory {
        environment.insert("MEM_LIMIT".to_owned(), memory.to_string());
    }
    environment
}

fn token_environment(id: &WorkspaceId, token: &Secret) -> BTreeMap<String, String> {
    let pairs = [
        ("JUPYTER_TOKEN", token.expose().to_owned()),
        // Read by the health checks of docker-stacks and AiiDAlab images, and by nothing else as long as no
        // JUPYTERHUB_API_TOKEN is there.
        ("JUPYTERHUB_SERVICE_PREFIX", id.path()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What `jupyterhub-singleuser` 2 to 6 reads.
fn hub_environment(
    id: &WorkspaceId,
    image: &str,
    place: &Place,
    blanks: &Blanks,
    token: &Secret,
) -> Result<BTreeMap<String, String>, StartError> {
    let api = place.hub_api.clone().ok_or_else(|| StartError::NoHubApi { image: image.to_owned() })?;
    let base = id.path();
    let user = id.user.path_segment();
    let scopes = access_scopes(id);
    let origin = place.origin_of(&id.user);
    // Where the hub is at another host than the workspace, images must know both.
    let apart = place.user_origins.is_some();
    let (hub, here) = if apart { (&*place.public_url, &*origin) } else { ("", "") };
    let pairs = [
        ("JUPYTERHUB_API_TOKEN", token.expose().to_owned()),
        ("JPY_API_TOKEN", token.expose().to_owned()),
        ("JUPYTERHUB_SERVICE_URL", blanks.fill("http://{ip}:{port}{base_url}")),
        ("JUPYTERHUB_SERVICE_PREFIX", base.clone()),
        ("JUPYTERHUB_CLIENT_ID", id.client_id()),
        ("JUPYTERHUB_ACTIVITY_URL", format!("{api}/users/{user}/activity")),
        ("JUPYTERHUB_API_URL", api),
        ("JUPYTERHUB_OAUTH_ACCESS_SCOPES", scopes.clone()),
        ("JUPYTERHUB_OAUTH_SCOPES", scopes),
        ("JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES", "[]".to_owned()),
        ("JUPYTERHUB_OAUTH_CALLBACK_URL", format!("{here}{base}oauth_callback")),
        ("JUPYTERHUB_BASE_URL", "/".to_owned()),
        ("JUPYTERHUB_HOST", hub.to_owned()),
        ("JUPYTERHUB_USER", id.user.to_string()),
        ("JUPYTERHUB_SERVER_NAME", id.server.to_string()),
        ("JUPYTERHUB_DEFAULT_URL", blanks.default_url.clone()),
        // A cookie that no sibling of this host can set; on a host of all users it would be everybody's.
        ("JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED", u8::from(apart).to_string()),
        ("JUPYTERHUB_PUBLIC_URL", format!("{origin}{base}")),
        ("JUPYTERHUB_PUBLIC_HUB_URL", format!("{}/hub/", place.public_url)),
    ];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Whoever has one of these may enter the workspace, as JSON. The name stands in it as it is.
pub(super) fn access_scopes(id: &WorkspaceId) -> String {
    let (user, server) = (&id.user, &id.server);
    serde_json::json!([
        format!("access:servers!server={user}/{server}"),
        format!("access:servers!user={user}")
    ])
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_name::ServerName;
    use crate::user::Claims;

    fn profile(text: &str) -> config::Profile {
        toml::from_str(&format!("name = \"lab\"\nimage = \"lab:1\"\n{text}")).unwrap()
    }

    fn image(command: &[&str]) -> Image {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        Image { command, entrypoint: 2, ..Image::default() }
    }

    fn plan(name: &str, profile: &config::Profile, image: &Image) -> Result<Spec, StartError> {
        plan_of(name, Claims::default(), profile, image)
    }

    fn plan_of(
        name: &str,
        claims: Claims,
        profile: &config::Profile,
        image: &Image,
    ) -> Result<Spec, StartError> {
        let name = UserName::normalise(name).unwrap();
        let id = WorkspaceId { user: name.clone(), server: ServerName::default() };
        let place = Place {
            public_url: "https://hub.example".into(),
            user_origins: None,
            hub_api: Some("http://172.17.0.1:8081/hub/api".into()),
            routes: vec![("AIIDALAB_REGISTRY".into(), "http://172.17.0.1:8081/registry/api/v1".into())],
            escape: Escape::Current,
            images: true,
        };
        let user = User {
            name,
            admin: false,
            profiles: ["lab".into()].into(),
            routes: [].into(),
            groups: [].into(),
            claims,
            memory: None,
            cpu: None,
        };
        spec(&id, &user, profile, image, &place, &"i1".into(), &Secret::new("t0k"))
    }

    #[test]
    fn a_plain_jupyter_image_gets_its_base_url_and_a_token_that_ps_does_not_show() {
        let spec = plan("anna@epfl.ch", &profile(""), &image(&["tini", "--", "jupyter", "lab"])).unwrap();
        assert_eq!(spec.mode, Mode::Token);
        let command = spec.command.unwrap();
        assert_eq!(command[..2], ["jupyter", "lab"]);
        assert!(command.contains(&"--ServerApp.base_url=/user/anna@epfl.ch/".to_owned()), "{command:?}");
        assert!(!command.iter().any(|word| word.contains("t0k")));
        assert_eq!(spec.environment["JUPYTER_TOKEN"], "t0k");
        assert!(!spec.environment.contains_key("JUPYTERHUB_API_TOKEN"), "it would look for a hub");
    }

    #[test]
    fn an_image_that_runs_singleuser_gets_a_hub() {
        let spec = plan("alice", &profile(""), &image(&["tini", "--", "jupyterhub-singleuser"])).unwrap();
        assert_eq!((spec.mode, &spec.command), (Mode::Hub, &None));
        assert_eq!(spec.environment["JUPYTERHUB_SERVICE_URL"], "http://0.0.0.0:8888/user/alice/");
        assert_eq!(
            spec.environment["JUPYTERHUB_ACTIVITY_URL"],
            "http://172.17.0.1:8081/hub/api/users/alice/activity"
        );
        assert_eq!(spec.environment["JUPYTERHUB_CLIENT_ID"], "jupyterhub-user-alice");
        assert_eq!(spec.environment["JUPYTER_IMAGE_SPEC"], "lab:1");
        let registry = "http://172.17.0.1:8081/registry/api/v1";
        assert_eq!(spec.environment["AIIDALAB_REGISTRY"], registry);
        let own = profile("environment = { AIIDALAB_REGISTRY = \"https://other\" }");
        let own = plan("alice", &own, &image(&[])).unwrap();
        assert_eq!(own.environment["AIIDALAB_REGISTRY"], "https://other");
        let scopes = "[\"access:servers!server=alice/\",\"access:servers!user=alice\"]";
        assert_eq!(spec.environment["JUPYTERHUB_OAUTH_ACCESS_SCOPES"], scopes);
        assert!(!spec.environment.contains_key("JUPYTER_TOKEN"));
    }

    #[test]
    fn any_web_program_is_started_by_its_own_command() {
        let profile = profile(
            "command = [\"rserver\", \"--www-port={port}\", \"--www-root-path={base_url}\"]\nport = 8787",
        );
        let spec = plan("alice", &profile, &image(&[])).unwrap();
        assert_eq!(spec.command.unwrap(), ["rserver", "--www-port=8787", "--www-root-path=/user/alice/"]);
    }

    #[test]
    fn software_is_told_its_limits() {
        let spec = plan("alice", &profile("cpu = \"2.5 cpu\"\nmemory = \"1GiB\""), &image(&[])).unwrap();
        assert_eq!(spec.environment["OMP_NUM_THREADS"], "2");
        assert_eq!(spec.environment["LOCALHOST_MPI_PROCS_PER_MACHINE"], "2");
        assert_eq!(spec.environment["MEM_LIMIT"], "1073741824");
        let half = plan("alice", &profile("cpu = \"0.5 cpu\""), &image(&[])).unwrap();
        assert_eq!(half.environment["OMP_NUM_THREADS"], "1");
        let set = plan(
            "alice",
            &profile("cpu = \"2 cpu\"\nenvironment = { OMP_NUM_THREADS = \"7\" }"),
            &image(&[]),
        );
        assert_eq!(set.unwrap().environment["OMP_NUM_THREADS"], "7", "the profile has the last word");
    }

    #[test]
    fn a_volume_is_named_after_its_user() {
        let volume = "[[volume]]\nsource = \"hub-{username}\"\ntarget = \"/home/jovyan\"\nowner = \"1234:5\"";
        let spec = plan("anna@epfl.ch", &profile(volume), &image(&[])).unwrap();
        assert_eq!(spec.mounts[0].source, "hub-anna-40epfl-2ech");
        assert_eq!(spec.mounts[0].owner, (1234, 5));
    }

    #[test]
    fn no_user_with_a_named_server_has_the_volume_of_another() {
        let mounted = |user: &str, server: &str, source: &str| {
            let user = UserName::parse(user).unwrap();
            let id = WorkspaceId { user, server: ServerName::parse(server).unwrap() };
            let volume = format!("[[volume]]\nsource = \"{source}\"\ntarget = \"/h\"");
            mounts(&profile(&volume), &id, Escape::Current).remove(0).source
        };
        for source in
            ["hub-{username}.{servername}", "hub-{username}--{servername}", "/srv/{username}/{servername}"]
        {
            let named = mounted("anna@epfl.ch", "gpu", source);
            assert_ne!(named, mounted("anna", "40epfl-2ech-gpu", source), "{source}");
            assert_ne!(mounted("anna-b", "", "hub-{username}"), mounted("anna", "2db", source), "{source}");
        }
        assert_eq!(mounted("anna", "a-b", "{username}.{servername}"), "anna.a-2db");
    }

    #[test]
    fn the_environment_names_the_file_of_the_access_token_and_never_holds_it() {
        let asks = profile("user = \"1:2\"\naccess_token_file = \"/run/hubgate/access_token\"");
        let spec = plan("alice", &asks, &image(&[])).unwrap();
        assert_eq!(spec.environment["HUBGATE_ACCESS_TOKEN_FILE"], "/run/hubgate/access_token");
        let place = |images| Place {
            public_url: String::new(),
            user_origins: None,
            hub_api: None,
            routes: vec![],
            escape: Escape::Current,
            images,
        };
        let file = access_token_file(&asks, &place(true), Some(&Secret::new("acc3ss"))).unwrap();
        assert_eq!((file.path.as_str(), file.owner), ("/run/hubgate/access_token", None));
        let spec = Spec { files: vec![file], ..spec };
        assert!(!spec.environment.values().any(|value| value.contains("acc3ss")));
        assert!(!format!("{spec:?} {:?}", spec.files).contains("acc3ss"));

        let file = access_token_file(&asks, &place(false), None).unwrap();
        assert_eq!((file.path.as_str(), file.content.expose()), ("{runtime}/access_token", ""));
        assert_eq!(access_token_file(&profile(""), &place(true), None), None);
        let plain = plan("alice", &profile(""), &image(&[])).unwrap();
        assert!(!plain.environment.contains_key("HUBGATE_ACCESS_TOKEN_FILE"));
    }

    fn full_stack() -> Image {
        let environment = ["AIIDALAB_APPS=/home/jovyan/apps", "DOCKER_STACKS_JUPYTER_CMD=notebook"];
        let environment = environment.map(str::to_owned).to_vec();
        Image { environment, ..image(&["tini", "--", "start-notebook.sh"]) }
    }

    #[test]
    fn a_classic_notebook_is_told_by_its_own_options() {
        let spec = plan("alice", &profile(""), &full_stack()).unwrap();
        assert_eq!((spec.mode, spec.preset), (Mode::Token, Preset::AiidalabFullStack));
        let command = spec.command.unwrap();
        assert_eq!(command[0], "start-notebook.sh");
        assert!(command.contains(&"--NotebookApp.base_url=/user/alice/".to_owned()), "{command:?}");
        assert!(!command.iter().any(|word| word.contains("ServerApp")), "{command:?}");
        assert_eq!(spec.environment["JUPYTERHUB_SERVICE_PREFIX"], "/user/alice/");

        let hub = plan("alice", &profile("mode = \"hub\""), &full_stack()).unwrap();
        assert_eq!(hub.environment["JUPYTERHUB_SINGLEUSER_APP"], "notebook.notebookapp.NotebookApp");
        assert_eq!(hub.environment["JUPYTERHUB_DEFAULT_URL"], "/apps/apps/home/start.ipynb");
        assert_eq!(hub.command, None);
    }

    /// What a provider says of Anna.
    fn anna(claims: &serde_json::Value) -> Claims {
        let wanted = ["email", "given_name", "family_name", "organization", "unit"];
        Claims::read(claims.as_object().unwrap(), wanted)
    }

    #[test]
    fn a_variable_is_filled_from_a_claim_and_left_alone_where_there_is_none() {
        let profile = profile(
            "environment = { WHO = \"{claim:given_name} {claim:family_name} <{claim:email}>\", UNIT = \"{claim:unit}\", \
             PAGE = \"{base_url}{claim:unit}\" }",
        );
        let whole = serde_json::json!({ "given_name": "Anna", "family_name": "O'Hara", "email": "anna@epfl.ch",
            "email_verified": true, "unit": "THEOS" });
        let plan = |claims| plan_of("anna", anna(&claims), &profile, &image(&[])).unwrap().environment;
        let told = plan(whole.clone());
        assert_eq!(told["WHO"], "Anna O'Hara <anna@epfl.ch>");
        assert_eq!((told["UNIT"].as_str(), told["PAGE"].as_str()), ("THEOS", "/user/anna/THEOS"));
        let mut part = whole;
        part["email_verified"] = false.into();
        part["unit"] = "a\nJUPYTERHUB_API_TOKEN=x".into();
        let told = plan(part);
        assert!(!told.keys().any(|name| ["WHO", "UNIT", "PAGE"].contains(&name.as_str())), "{told:?}");
        let told = plan(serde_json::json!({ "unit": "{base_url}" }));
        assert!(!told.contains_key("UNIT"), "what a claim says is no placeholder");
    }

    #[test]
    fn aiida_knows_its_user_from_the_provider_unless_the_profile_says_who() {
        let claims = serde_json::json!({ "given_name": "Anna", "family_name": "O'Hara", "email": "anna@epfl.ch",
            "email_verified": true, "organization": ["epfl"] });
        let plan =
            |keys: &str, image| plan_of("anna", anna(&claims), &profile(keys), image).unwrap().environment;
        let (full_stack, classic) = (full_stack(), image(&["/sbin/my_my_init"]));
        for (image, prefix) in [(&full_stack, "AIIDA_"), (&classic, "")] {
            let told = plan("", image);
            let said = ["EMAIL", "FIRST_NAME", "LAST_NAME", "INSTITUTION"]
                .map(|name| told[&format!("{prefix}USER_{name}")].as_str());
            assert_eq!(said, ["anna@epfl.ch", "Anna", "O'Hara", "epfl"]);
            let own = format!(
                "environment = {{ {prefix}USER_EMAIL = \"group@epfl.ch\", {prefix}USER_LAST_NAME = \"{{claim:unit}}\" }}"
            );
            let told = plan(&own, image);
            assert_eq!(told[&format!("{prefix}USER_EMAIL")], "group@epfl.ch");
            assert!(
                !told.contains_key(&format!("{prefix}USER_LAST_NAME")),
                "the profile's word, which is not there"
            );
            assert_eq!(told[&format!("{prefix}USER_FIRST_NAME")], "Anna");
        }
        let others = plan("", &image(&["tini", "--", "jupyter", "lab"]));
        assert!(!others.keys().any(|name| name.contains("USER_EMAIL")), "{others:?}");
    }

    #[test]
    fn a_notebook_of_any_version_is_told_its_address() {
        let stacks = |environment: &[&str]| Image {
            environment: environment.iter().map(|&line| line.to_owned()).collect(),
            ..image(&["tini", "--", "start-notebook.py"])
        };
        let notebook = profile("environment = { DOCKER_STACKS_JUPYTER_CMD = \"notebook\" }");
        let plain = image(&["tini", "--", "jupyter", "notebook", "--no-browser"]);
        for (profile, image, old) in [
            (&notebook, &stacks(&[]), true),
            (&profile(""), &stacks(&["DOCKER_STACKS_JUPYTER_CMD=notebook"]), true),
            (&profile(""), &plain, true),
            (&profile("command = [\"jupyter-notebook\"]"), &stacks(&[]), true),
            (&profile("environment = { DOCKER_STACKS_JUPYTER_CMD = \"nbclassic\" }"), &stacks(&[]), false),
            (&profile(""), &stacks(&[]), false),
        ] {
            let command = plan("alice", profile, image).unwrap().command.unwrap();
            let says = |app: &str| command.contains(&format!("--{app}.base_url=/user/alice/"));
            assert_eq!((says("ServerApp"), says("NotebookApp")), (true, old), "{command:?}");
        }
    }

    #[test]
    fn an_image_that_takes_no_arguments_gets_a_file_that_its_user_alone_reads() {
        let spec = plan("alice", &profile(""), &image(&["/sbin/my_my_init"])).unwrap();
        assert_eq!((spec.mode, spec.preset, &spec.command), (Mode::Token, Preset::AiidalabClassic, &None));
        let file = &spec.files[0];
        assert_eq!(file.path, "/etc/jupyter/jupyter_notebook_config.json");
        assert_eq!(file.owner, Some((1000, 1000)));
        let settings: serde_json::Value = serde_json::from_str(file.content.expose()).unwrap();
        assert_eq!(settings["NotebookApp"]["base_url"], "/user/alice/");
        assert_eq!(settings["NotebookApp"]["token"], "t0k");
        let hub = plan("alice", &profile("mode = \"hub\""), &image(&["/sbin/my_my_init"])).unwrap();
        assert!(hub.files.is_empty(), "a hub tells it");
        assert_eq!(hub.environment["JUPYTERHUB_API_TOKEN"], "t0k");
    }

    #[test]
    fn in_mode_token_nothing_makes_an_image_look_for_a_hub() {
        let profile = profile("environment = { JUPYTERHUB_API_TOKEN = \"x\" }");
        for image in [full_stack(), image(&["tini", "--", "jupyter", "lab"])] {
            let spec = plan("alice", &profile, &image).unwrap();
            assert!(!spec.environment.contains_key("JUPYTERHUB_API_TOKEN"), "{image:?}");
        }
    }

    #[test]
    fn a_web_program_listens_where_its_image_says() {
        let image = Image { ports: vec![8787], ..image(&["/init"]) };
        let spec = plan("alice", &profile(""), &image).unwrap();
        assert_eq!((spec.preset, spec.port, &spec.command), (Preset::Web, 8787, &None));
    }
}

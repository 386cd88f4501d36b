//! The engine's HTTP API, as far as hubgate and its tests use it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use super::files;
use super::{Container, Image, Records, Request, Shared, State, now};

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Answers until the future is dropped; connections end with it.
pub(super) async fn serve(shared: Arc<Shared>, listener: UnixListener) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        connections.spawn(serve_connection(Arc::clone(&shared), connection));
    }
}

async fn serve_connection(shared: Arc<Shared>, connection: UnixStream) {
    // A program that gets the connection for itself, after the answer.
    let program = Arc::new(Mutex::new(None));
    let taken = Arc::clone(&program);
    let service = service_fn(move |mut request| {
        let (shared, program) = (Arc::clone(&shared), Arc::clone(&program));
        async move {
            let path = without_version(http::Request::uri(&request).path()).to_owned();
            if let ["exec", id, "start"] = path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..] {
                let upgrade = hyper::upgrade::on(&mut request);
                let run = files::run(Arc::clone(&shared), id.to_owned(), upgrade);
                *program.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
            }
            Ok::<_, Infallible>(answer(&shared, request).await)
        }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
    drop(serving.with_upgrades().await);
    let program = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(program) = program {
        program.await;
    }
}

async fn answer(shared: &Arc<Shared>, request: http::Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let request = Request {
        method: head.method.to_string(),
        path: without_version(head.uri.path()).to_owned(),
        query: url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    shared.lock().requests.push(request.clone());
    let refusal = {
        let mut state = shared.lock();
        let found = state.refusals.iter().position(|(part, ..)| request.path.contains(part.as_str()));
        found.map(|found| state.refusals.remove(found))
    };
    if let Some((_, status, message)) = refusal {
        return refuse(status, &message);
    }
    if request.path != "/images/create" {
        released(shared, &request.path).await;
    }
    let segments: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match (request.method.as_str(), segments.as_slice()) {
        ("GET" | "HEAD", ["_ping"]) => text("OK"),
        ("GET", ["version"]) => ok(&json!({
            "Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux",
            "Components": [{ "Name": engine_name(shared), "Version": "20.10.24" }],
        })),
        ("GET", ["info"]) => ok(&json!({ "ServerVersion": "20.10.24", "Driver": "overlay2" })),
        ("GET", ["events"]) => events(shared, &request),
        ("POST", ["images", "create"]) => pull(shared, &request),
        ("GET", ["images", "json"]) => {
            let tags = shared.lock().images.keys().map(|name| json!({ "RepoTags": [name] })).collect();
            ok(&Value::Array(tags))
        }
        ("GET", ["images", name @ .., "json"]) => inspect_image(shared, &name.join("/")),
        ("POST", ["containers", "create"]) => create(shared, &request),
        ("GET", ["containers", "json"]) => list(shared, &request),
        (method, ["containers", reference, rest @ ..]) => {
            if let ["archive"] = rest {
                return archive(shared, method, reference, &request, &body);
            }
            container(shared, method, reference, rest, &request).await
        }
        ("POST", ["exec", _, "start"]) => upgraded(),
        ("GET", ["exec", id, "json"]) => match files::inspect(shared, id) {
            Some(found) => ok(&found),
            None => refuse(404, "No such exec instance"),
        },
        (method, ["volumes", rest @ ..]) => volumes(&mut shared.lock(), method, rest, &request.body),
        (method, ["networks", rest @ ..]) => networks(&mut shared.lock(), method, rest, &request.body),
        _ => refuse(404, "page not found"),
    }
}

fn without_version(path: &str) -> &str {
    let Some((version, rest)) = path.trim_start_matches('/').split_once('/') else { return path };
    let is_version = version.strip_prefix('v').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    if is_version { rest } else { path }
}

async fn released(shared: &Shared, path: &str) {
    let mut held = shared.held.subscribe();
    drop(held.wait_for(|held| !held.iter().any(|part| path.contains(part.as_str()))).await);
}

async fn container(
    shared: &Shared,
    method: &str,
    reference: &str,
    rest: &[&str],
    request: &Request,
) -> Answer {
    let Some(found) = shared.lock().find(reference) else {
        return refuse(404, &format!("No such container: {reference}"));
    };
    match (method, rest) {
        ("GET", ["json"]) => ok(&inspect(&found)),
        ("GET", ["logs"]) => logs(&found, request),
        ("POST", ["start"]) => start(shared, &found),
        ("POST", ["stop"]) if found.state != State::Running => empty(304),
        ("POST", ["stop"]) => {
            shared.end(&found.id, 0, false);
            if found.host_config("AutoRemove") == &json!(true) {
                take_away(shared, &found.id);
            }
            empty(204)
        }
        ("POST", ["rename"]) => rename(shared, &found, request),
        ("POST", ["kill" | "exec"]) if found.state != State::Running => {
            refuse(409, &format!("Container {reference} is not running"))
        }
        ("POST", ["kill"]) => {
            shared.end(&found.id, 137, false);
            empty(204)
        }
        ("POST", ["exec"]) => respond(201, &json!({ "Id": files::prepare(shared, &found, &request.body) })),
        ("POST", ["wait"]) => wait(shared, &found.id).await,
        ("DELETE", []) => remove(shared, &found, request),
        _ => refuse(404, "page not found"),
    }
}

fn archive(shared: &Shared, method: &str, reference: &str, request: &Request, body: &[u8]) -> Answer {
    let path = request.query.get("path").map(String::as_str).unwrap_or_default();
    let mut state = shared.lock();
    let Some(container) = state.find_mut(reference) else {
        return refuse(404, &format!("No such container: {reference}"));
    };
    let missing = || refuse(404, &format!("Could not find the file {path} in container {reference}"));
    match method {
        "HEAD" => {
            let Some(stat) = files::stat(container, path) else { return missing() };
            let mut answer = empty(200);
            if let Ok(stat) = stat.try_into() {
                answer.headers_mut().insert("X-Docker-Container-Path-Stat", stat);
            }
            answer
        }
        "GET" => files::read(path).map_or_else(missing, |archive| full(200, archive.into())),
        "PUT" => match files::unpack(container, path, body) {
            Ok(()) => empty(200),
            Err(message) => refuse(404, &message),
        },
        _ => refuse(404, "page not found"),
    }
}

fn create(shared: &Shared, request: &Request) -> Answer {
    let mut state = shared.lock();
    let image = request.body.pointer("/Image").and_then(Value::as_str).unwrap_or_default();
    if !state.images.contains_key(image) {
        return refuse(404, &format!("No such image: {image}"));
    }
    let name = request.query.get("name").map_or("unnamed", String::as_str);
    if let Some(other) = state.find(name) {
        return refuse(
            409,
            &format!(
                "Conflict. The container name \"/{name}\" is already in use by container {:?}.",
                other.id
            ),
        );
    }
    if let Err(message) = make_mounts(&mut state, &request.body) {
        return refuse(400, &message);
    }
    let container = new_container(name, request.body.clone());
    let id = container.id.clone();
    state.containers.push(container.clone());
    drop(state);
    shared.emit("create", &container);
    respond(201, &json!({ "Id": id, "Warnings": [] }))
}

/// Volumes are made when they are not there, folders only by `Binds`.
fn make_mounts(state: &mut Records, body: &Value) -> Result<(), String> {
    for bind in array(body, "/HostConfig/Binds") {
        let source = bind.as_str().and_then(|bind| bind.split(':').next()).unwrap_or_default();
        if !source.starts_with('/') {
            make_volume(state, source, &Value::Null);
        } else if Path::new(source).starts_with(std::env::temp_dir()) {
            std::fs::create_dir_all(source).map_err(|error| error.to_string())?;
        } else if !Path::new(source).exists() {
            return Err(format!("this engine makes folders only in the temporary one, not {source}"));
        }
    }
    for mount in array(body, "/HostConfig/Mounts") {
        let source = mount.pointer("/Source").and_then(Value::as_str).unwrap_or_default();
        match mount.pointer("/Type").and_then(Value::as_str) {
            Some("bind") if !Path::new(source).exists() => {
                return Err(format!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {source}"
                ));
            }
            Some("volume") => make_volume(state, source, &Value::Null),
            _ => {}
        }
    }
    Ok(())
}

fn make_volume(state: &mut Records, name: &str, labels: &Value) {
    let volume = json!({
        "Name": name, "Driver": "local", "Mountpoint": format!("/var/lib/docker/volumes/{name}/_data"),
        "Labels": labels, "Scope": "local", "Options": {},
    });
    state.volumes.entry(name.to_owned()).or_insert(volume);
}

/// A container that has not started.
pub(super) fn new_container(name: &str, body: Value) -> Container {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let environment = array(&body, "/Env").filter_map(Value::as_str).filter_map(|line| line.split_once('='));
    Container {
        id: format!("{:064x}", NEXT.fetch_add(1, Ordering::Relaxed)),
        name: name.to_owned(),
        image: body.pointer("/Image").and_then(Value::as_str).unwrap_or_default().to_owned(),
        labels: body
            .pointer("/Labels")
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default(),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        command: body.pointer("/Cmd").and_then(|words| serde_json::from_value(words.clone()).ok()),
        address: Ipv4Addr::UNSPECIFIED,
        state: State::Created,
        log: String::new(),
        created: now(),
        files: BTreeMap::new(),
        body,
    }
}

fn start(shared: &Shared, found: &Container) -> Answer {
    if found.state == State::Running {
        return empty(304);
    }
    let network = network_of(found).to_owned();
    let (on_start, address) = {
        let mut state = shared.lock();
        if !state.networks.contains_key(&network) {
            return refuse(404, &format!("network {network} not found"));
        }
        let label = |name: &str| found.labels.get(name).cloned().unwrap_or_default();
        let chosen = state.next_address.take();
        let address = chosen
            .unwrap_or_else(|| state.address_of(&label("io.hubgate.user"), &label("io.hubgate.server")));
        (state.on_start.clone(), address)
    };
    shared.change(&found.id, |container| {
        container.address = address;
        container.state = State::Running;
    });
    let Some(started) = shared.lock().find(&found.id) else { return empty(404) };
    shared.emit("start", &started);
    // What replaces the entrypoint by a shell does one thing and ends.
    if array(&found.body, "/Entrypoint").next().and_then(Value::as_str) == Some("/bin/sh") {
        shared.end(&found.id, 0, false);
    } else if let Some(call) = on_start {
        call(&started);
    }
    empty(204)
}

async fn wait(shared: &Shared, id: &str) -> Answer {
    let mut changes = shared.changes.subscribe();
    loop {
        match shared.lock().find(id).map(|container| container.state) {
            Some(State::Running) => {}
            Some(State::Exited { code, .. }) => return ok(&json!({ "StatusCode": code })),
            Some(State::Created) | None => return ok(&json!({ "StatusCode": 0 })),
        }
        if changes.changed().await.is_err() {
            return empty(500);
        }
    }
}

fn rename(shared: &Shared, found: &Container, request: &Request) -> Answer {
    let name = request.query.get("name").cloned().unwrap_or_default();
    if name.is_empty() || shared.lock().find(&name).is_some() {
        return refuse(409, &format!("Conflict. The container name \"/{name}\" is already in use"));
    }
    shared.change(&found.id, |container| container.name = name);
    empty(204)
}

fn remove(shared: &Shared, found: &Container, request: &Request) -> Answer {
    let force = request.query.get("force").is_some_and(|force| force == "true" || force == "1");
    if found.state == State::Running && !force {
        return refuse(
            409,
            "You cannot remove a running container. Stop the container before attempting removal",
        );
    }
    take_away(shared, &found.id);
    empty(204)
}

/// Ends and removes a container, if it is there.
pub(super) fn take_away(shared: &Shared, reference: &str) {
    shared.end(reference, 137, false);
    let removed = {
        let mut state = shared.lock();
        state.position(reference).map(|position| state.containers.remove(position))
    };
    shared.changes.send_modify(|count| *count += 1);
    if let Some(removed) = removed {
        shared.emit("destroy", &removed);
    }
}

fn inspect(container: &Container) -> Value {
    let (status, code, out_of_memory) = match container.state {
        State::Created => ("created", 0, false),
        State::Running => ("running", 0, false),
        State::Exited { code, out_of_memory } => ("exited", code, out_of_memory),
    };
    let body = &container.body;
    json!({
        "Id": container.id,
        "Name": format!("/{}", container.name),
        "Image": container.image,
        "Created": iso_8601(container.created),
        "State": {
            "Status": status, "Running": status == "running", "OOMKilled": out_of_memory, "ExitCode": code,
            "Paused": false, "Restarting": false, "Dead": false, "Pid": 0, "Error": "",
        },
        "Config": {
            "Image": container.image, "Labels": container.labels, "Env": body.pointer("/Env"),
            "Cmd": body.pointer("/Cmd"), "User": body.pointer("/User"),
        },
        "HostConfig": body.pointer("/HostConfig"),
        "NetworkSettings": { "Networks": addresses(container) },
    })
}

/// As Docker writes times.
fn iso_8601(seconds: u64) -> String {
    let time = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let parts: Vec<&str> = time.split(' ').collect();
    let &[_, day, month, year, time, _] = parts.as_slice() else { return time };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month).map_or(0, |at| at + 1);
    format!("{year}-{month:02}-{day}T{time}.123456789Z")
}

fn list(shared: &Shared, request: &Request) -> Answer {
    let all = request.query.get("all").is_some_and(|all| all == "true" || all == "1");
    let filters = filters(request);
    let state = shared.lock();
    let found = state.containers.iter().filter(|container| {
        (all || container.state == State::Running) && has_labels(&filters, &container.labels)
    });
    let found = found.map(|container| {
        json!({
            "Id": container.id, "Names": [format!("/{}", container.name)], "Image": container.image,
            "Created": container.created, "Labels": container.labels, "NetworkSettings": { "Networks": addresses(container) },
            "State": if container.state == State::Running { "running" } else { "exited" },
        })
    });
    ok(&Value::Array(found.collect()))
}

fn addresses(container: &Container) -> Value {
    let address = match container.state {
        State::Running => container.address.to_string(),
        State::Created | State::Exited { .. } => String::new(),
    };
    json!({ network_of(container): { "IPAddress": address } })
}

fn network_of(container: &Container) -> &str {
    container.host_config("NetworkMode").as_str().unwrap_or("bridge")
}

fn logs(container: &Container, request: &Request) -> Answer {
    let lines: Vec<&str> = container.log.split_inclusive('\n').collect();
    let tail = request.query.get("tail").and_then(|tail| tail.parse().ok()).unwrap_or(lines.len());
    let mut body = Vec::new();
    for line in lines.iter().skip(lines.len().saturating_sub(tail)) {
        // A frame: the stream, three zeros, the length.
        body.extend([1, 0, 0, 0]);
        body.extend(u32::try_from(line.len()).unwrap_or(0).to_be_bytes());
        body.extend(line.as_bytes());
    }
    full(200, body.into())
}

fn volumes(state: &mut Records, method: &str, rest: &[&str], body: &Value) -> Answer {
    match (method, rest) {
        ("GET", []) => ok(&json!({ "Volumes": state.volumes.values().collect::<Vec<_>>(), "Warnings": [] })),
        ("POST", ["create"]) => {
            let name = body.pointer("/Name").and_then(Value::as_str).unwrap_or_default();
            make_volume(state, name, body.pointer("/Labels").unwrap_or(&Value::Null));
            respond(201, state.volumes.get(name).unwrap_or(&Value::Null))
        }
        ("GET", [name]) => match state.volumes.get(*name) {
            Some(volume) => ok(volume),
            None => refuse(404, &format!("get {name}: no such volume")),
        },
        ("DELETE", [name]) if state.volumes.remove(*name).is_some() => empty(204),
        _ => refuse(404, "page not found"),
    }
}

fn networks(state: &mut Records, method: &str, rest: &[&str], body: &Value) -> Answer {
    match (method, rest) {
        ("GET", []) => ok(&json!(state.networks.values().collect::<Vec<_>>())),
        ("POST", ["create"]) => {
            let name = body.pointer("/Name").and_then(Value::as_str).unwrap_or_default();
            if state.networks.contains_key(name) {
                return refuse(409, &format!("network with name {name} already exists"));
            }
            let mut network = body.clone();
            if let Some(network) = network.as_object_mut() {
                network.insert("Id".to_owned(), json!(name));
            }
            state.networks.insert(name.to_owned(), network);
            respond(201, &json!({ "Id": name, "Warning": "" }))
        }
        ("GET", [name]) => match state.networks.get(*name) {
            Some(network) => ok(network),
            None => refuse(404, &format!("network {name} not found")),
        },
        ("DELETE", [name]) if state.networks.remove(*name).is_some() => empty(204),
        _ => refuse(404, "page not found"),
    }
}

fn inspect_image(shared: &Shared, name: &str) -> Answer {
    match shared.lock().images.get(name) {
        Some(image) => ok(&json!({
            "Id": format!("sha256:{name}"), "RepoTags": [name],
            "Config": {
                "Entrypoint": image.entrypoint, "Cmd": image.command, "Env": image.environment,
                "User": image.user,
                "ExposedPorts": image.ports.iter().map(|port| (port, json!({}))).collect::<BTreeMap<_, _>>(),
                "Healthcheck": { "Test": image.health },
                "Volumes": image.volumes.iter().map(|path| (path, json!({}))).collect::<BTreeMap<_, _>>(),
            },
        })),
        None => refuse(404, &format!("No such image: {name}")),
    }
}

fn pull(shared: &Arc<Shared>, request: &Request) -> Answer {
    let name = request.query.get("fromImage").cloned().unwrap_or_default();
    let untagged = name.strip_suffix(":latest").unwrap_or_default().to_owned();
    let found: Option<(String, Image)> = {
        let state = shared.lock();
        [name.clone(), untagged]
            .into_iter()
            .find_map(|name| Some((name.clone(), state.registry.get(&name)?.clone())))
    };
    let Some((name, image)) = found else {
        return refuse(404, &format!("pull access denied for {name}, repository does not exist"));
    };
    shared.lock().pulls.push(name.clone());
    let layer = |status: &str, current: u64| json!({ "status": status, "id": "layer", "progressDetail": { "current": current, "total": 1_000_000_000 } });
    let first = [
        json!({ "status": "Pulling from library", "id": "1" }),
        json!({ "status": "Pulling fs layer", "id": "layer", "progressDetail": {} }),
        layer("Downloading", 400_000_000),
    ];
    let held = Arc::clone(shared);
    let rest = async move {
        released(&held, "/images/create").await;
        held.lock().images.insert(name, image);
        stream::iter([
            layer("Downloading", 1_000_000_000),
            layer("Extracting", 10),
            json!({ "status": "Pull complete", "id": "layer" }),
            json!({ "status": "Status: Downloaded newer image" }),
        ])
    };
    lines(stream::iter(first).chain(rest.flatten_stream()).boxed())
}

fn events(shared: &Shared, request: &Request) -> Answer {
    let filters = filters(request);
    let since = request.query.get("since").and_then(|since| since.parse::<u64>().ok());
    let (history, live) = {
        let state = shared.lock();
        (state.history.clone(), shared.events.subscribe())
    };
    let past = history.into_iter().filter(move |event| {
        since.is_some_and(|since| event.pointer("/time").and_then(Value::as_u64) >= Some(since))
    });
    let live = stream::unfold(live, |mut live: broadcast::Receiver<Value>| async move {
        live.recv().await.ok().map(|event| (event, live))
    });
    let wanted = move |event: &Value| {
        let labels: BTreeMap<String, String> = event
            .pointer("/Actor/Attributes")
            .and_then(|labels| serde_json::from_value(labels.clone()).ok())
            .unwrap_or_default();
        let action = event.pointer("/Action").and_then(Value::as_str).unwrap_or_default();
        let action_wanted = filters.get("event").is_none_or(|actions| actions.contains(action));
        std::future::ready(action_wanted && has_labels(&filters, &labels))
    };
    lines(stream::iter(past).chain(live).filter(wanted).boxed())
}

fn filters(request: &Request) -> HashMap<String, HashSet<String>> {
    let filters = request.query.get("filters").map(String::as_str).unwrap_or_default();
    serde_json::from_str(filters).unwrap_or_default()
}

fn has_labels(filters: &HashMap<String, HashSet<String>>, labels: &BTreeMap<String, String>) -> bool {
    filters.get("label").into_iter().flatten().all(|wanted| match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    })
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn lines(values: BoxStream<'static, Value>) -> Answer {
    let frames = values.map(|value| Ok(Frame::data(Bytes::from(format!("{value}\r\n")))));
    let body = BodyExt::boxed_unsync(StreamBody::new(frames));
    Response::new(body)
}

fn ok(value: &Value) -> Answer {
    respond(200, value)
}

fn respond(status: u16, value: &Value) -> Answer {
    full(status, value.to_string().into())
}

fn refuse(status: u16, message: &str) -> Answer {
    respond(status, &json!({ "message": message }))
}

fn text(text: &'static str) -> Answer {
    full(200, text.into())
}

fn empty(status: u16) -> Answer {
    full(status, Bytes::new())
}

/// The connection is now between the client and a program.
fn upgraded() -> Answer {
    let mut answer = empty(101);
    answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(http::header::UPGRADE, HeaderValue::from_static("tcp"));
    answer
}

fn full(status: u16, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn engine_name(shared: &Shared) -> &'static str {
    if shared.lock().podman { "Podman Engine" } else { "Engine" }
}

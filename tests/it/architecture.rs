//! The shape of the source: layers, sizes, and documents that say what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hubgate::metrics::{Answer, Call, Kind, Metrics, Outcome, State};

/// Lowest first. A module imports from layers below its own, and from nothing else of ours: not from its own layer
/// either. `docs/architecture.md` says what each layer is.
const LAYERS: &[&[&str]] = &[
    &[
        "user",
        "identity",
        "upstream",
        "secret",
        "clock",
        "tasks",
        "metrics",
        "logging",
        "cookies",
        "spelling",
        "server_name",
    ],
    &["seal"],
    &["config"],
    &["store", "tls", "oidc", "spawner", "forward"],
    &["groups", "people", "preset"],
    &["session", "token", "share", "workspace", "mapping", "routes"],
    &["explain"],
    &["gateway"],
    &["admin", "control"],
    &["listener"],
    &["app"],
    &["connect", "demo", "images", "import", "login", "operate"],
    &["cli"],
    &["fuzzing"],
    &["lib", "main"],
];

/// Lines of a file before its tests.
const MOST_LINES: usize = 500;

/// One source file, without its tests.
struct Source {
    path: PathBuf,
    /// Names of modules from the root: `["spawner", "docker"]`.
    module: Vec<String>,
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files(&root().join("src"), &mut paths);
    paths.sort();
    let rust = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    // Files of tests are whole modules behind `#[cfg(test)]`.
    let product = rust.filter(|path| path.file_stem().is_none_or(|stem| stem != "tests"));
    product.map(source).collect()
}

fn source(path: PathBuf) -> Source {
    let below = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut module: Vec<_> = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let text = fs::read_to_string(&path).unwrap();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
    Source { path, module, code }
}

/// Our modules that a file names by `crate::`, comments aside.
fn imports(code: &str) -> BTreeSet<String> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        if let Some(group) = after.strip_prefix('{') {
            found.extend(first_names(group));
        } else {
            found.extend(name(after));
        }
    }
    found
}

/// What stands first in each part of `a::b, c::{d, e}, f}`.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = Vec::from_iter(name(group.trim_start()));
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(name(group.split_at(at + 1).1.trim_start())),
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(text.len());
    let (name, _) = text.split_at(end);
    (!name.is_empty()).then(|| name.to_owned())
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn a_module_imports_only_from_layers_below_its_own() {
    let mut wrong = Vec::new();
    for source in sources() {
        let own = source.module.first().unwrap();
        let Some(layer) = layer_of(own) else {
            wrong.push(format!("{own} is in no layer: {}", source.path.display()));
            continue;
        };
        for import in imports(&source.code).into_iter().filter(|import| import != own) {
            let below = layer_of(&import).is_some_and(|lower| lower < layer);
            if !below {
                wrong.push(format!("{own} must not import {import}: {}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_however_they_are_written() {
    let code = "use crate::user::UserName;\nuse crate::{config::{self, Mode}, tasks::Tasks,\n    seal};\n\
                /// [`crate::gateway`]\nfn f() { crate::clock::Clock::system(); }";
    let found: Vec<_> = imports(code).into_iter().collect();
    assert_eq!(found, ["clock", "config", "seal", "tasks", "user"]);
}

#[test]
fn no_module_goes_around_the_layers_by_super() {
    for source in sources() {
        let way_out = "super::".repeat(source.module.len());
        // In an inline module it leads one step less far; there is none outside of tests.
        assert!(!source.code.contains(&way_out), "{} leaves its module by {way_out}", source.path.display());
    }
}

#[test]
fn every_layer_names_modules_that_exist() {
    let known: BTreeSet<_> =
        sources().into_iter().filter_map(|source| source.module.into_iter().next()).collect();
    for module in LAYERS.iter().copied().flatten() {
        assert!(known.contains(*module), "{module} is in the table, and nowhere else");
    }
}

#[test]
fn a_file_holds_one_idea() {
    for source in sources() {
        let lines = source.code.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines before its tests", source.path.display());
    }
}

#[test]
fn nothing_is_left_to_do_later() {
    for source in sources() {
        for mark in ["todo!(", "unimplemented!(", "dbg!("] {
            assert!(!source.code.contains(mark), "{mark} in {}", source.path.display());
        }
    }
}

/// Texts between backticks and targets of links.
fn quoted(markdown: &str) -> impl Iterator<Item = &str> {
    let code = markdown.split('`').skip(1).step_by(2);
    let links = markdown.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    code.chain(links)
}

fn documents() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    files(&root().join("docs"), &mut paths);
    paths.extend(
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root().join(name)),
    );
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths
}

#[test]
fn every_path_in_the_documents_exists() {
    const TOPS: [&str; 6] = ["src/", "tests/", "docs/", "deploy/", "certs.example/", ".ci/"];
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for path in quoted(&text).filter(|text| TOPS.iter().any(|top| text.starts_with(top))) {
            if !root().join(path).exists() {
                wrong.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let local = !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:");
            if local && !document.parent().unwrap().join(link).exists() {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut paths = Vec::new();
    files(&root().join("src"), &mut paths);
    files(&root().join("tests"), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let code: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut wrong = Vec::new();
    // The house style has names that only show what a name is.
    for document in documents().into_iter().filter(|path| !path.ends_with("CONTRIBUTING.md")) {
        let text = fs::read_to_string(&document).unwrap();
        // Names of tests are sentences: nothing else in backticks has so many underscores.
        let sentence = |text: &&str| {
            text.matches('_').count() >= 4
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        for test in quoted(&text).filter(sentence).filter(|text| !text.starts_with("hubgate_")) {
            if !code.contains(&format!("fn {test}(")) {
                wrong.push(format!("{}: {test}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Name and version of each package of a lock file.
fn locked(file: &str) -> BTreeSet<(String, String)> {
    let lock: toml::Table = fs::read_to_string(root().join(file)).unwrap().parse().unwrap();
    let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap();
    packages.iter().map(|package| (text(package, "name"), text(package, "version"))).collect()
}

#[test]
fn what_is_fuzzed_is_built_of_the_same_packages() {
    let (ours, fuzzed) = (locked("Cargo.lock"), locked("tests/fuzz/Cargo.lock"));
    let names: BTreeSet<_> = ours.iter().map(|(name, _)| name).collect();
    let others: Vec<_> =
        fuzzed.difference(&ours).filter(|(name, _)| names.contains(name)).map(|(name, _)| name).collect();
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let needed = manifest["dependencies"].as_table().unwrap().keys();
    let missing: Vec<_> = needed.filter(|name| !fuzzed.iter().any(|(known, _)| known == *name)).collect();
    assert!(
        others.is_empty() && missing.is_empty(),
        "of other versions: {others:?}; missing: {missing:?}; cp Cargo.lock tests/fuzz/ && \
         cargo update --workspace --manifest-path tests/fuzz/Cargo.toml"
    );
}

/// Names as a scrape shows them, with their kinds.
fn metrics() -> BTreeMap<String, String> {
    let metrics = Metrics::new();
    // What has labels is shown from its first value on.
    let (result, kind) = (Outcome { result: "ok" }, Kind { kind: "test" });
    drop(metrics.tls_handshakes.get_or_create(&result));
    drop(metrics.certificate_reloads.get_or_create(&result));
    drop(metrics.logins.get_or_create(&result));
    drop(metrics.renewals.get_or_create(&result));
    drop(metrics.provider_logouts.get_or_create(&result));
    drop(metrics.refusals.get_or_create(&kind));
    drop(metrics.upstream_errors.get_or_create(&kind));
    drop(metrics.insecure_options.get_or_create(&kind));
    drop(metrics.requests.get_or_create(&Answer { route: "root", status: "2xx" }));
    drop(metrics.workspaces.get_or_create(&State { state: "ready" }));
    drop(metrics.spawner_calls.get_or_create(&Call { call: "start", result: "ok" }));
    let text = metrics.encode().unwrap();
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let full = |(name, kind): (&str, &str)| {
        let end = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        (format!("{name}{end}"), kind.to_owned())
    };
    let found: BTreeMap<_, _> = kinds.map(full).collect();
    let registered =
        fs::read_to_string(root().join("src/metrics.rs")).unwrap().matches("registry.register").count();
    assert_eq!(found.len(), registered, "a metric with labels is not in the list above");
    found
}

#[test]
fn the_document_of_metrics_has_every_metric_and_no_other() {
    let text = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let metrics = metrics();
    for (name, kind) in &metrics {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        assert!(row.contains(&format!("| {kind} |")), "{name} is a {kind}: {row}");
    }
    for named in quoted(&text).filter(|text| text.starts_with("hubgate_")) {
        let name = named.split('{').next().unwrap_or_default();
        assert!(metrics.contains_key(name), "there is no metric {name}");
    }
}

use super::*;

fn profile(text: &str) -> Profile {
    toml::from_str(&format!("name = \"lab\"\nimage = \"lab:1\"\n{text}")).unwrap()
}

/// As `docker image inspect` shows it.
fn image(entrypoint: &[&str], command: &[&str], environment: &[&str]) -> Image {
    Image {
        command: owned(&[entrypoint, command].concat()),
        entrypoint: entrypoint.len(),
        environment: owned(environment),
        ..Image::default()
    }
}

/// quay.io/jupyter/base-notebook:2025-03-14
fn docker_stacks() -> Image {
    let environment = [
        "PATH=/opt/conda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "CONDA_DIR=/opt/conda",
        "SHELL=/bin/bash",
        "NB_USER=jovyan",
        "NB_UID=1000",
        "NB_GID=100",
        "HOME=/home/jovyan",
        "JUPYTER_PORT=8888",
    ];
    let image = image(&["tini", "-g", "--", "start.sh"], &["start-notebook.py"], &environment);
    Image { user: "1000".to_owned(), ports: vec![8888], ..image }
}

/// ghcr.io/aiidalab/full-stack:2024.1021
fn full_stack() -> Image {
    let environment = [
        "NB_USER=jovyan",
        "NB_UID=1000",
        "NB_GID=100",
        "HOME=/home/jovyan",
        "DOCKER_STACKS_JUPYTER_CMD=notebook",
        "AIIDALAB_HOME=/home/jovyan",
        "AIIDALAB_APPS=/home/jovyan/apps",
        "AIIDALAB_DEFAULT_GIT_BRANCH=master",
        "NOTEBOOK_ARGS=--NotebookApp.default_url='/apps/apps/home/start.ipynb'",
        "PGDATA=/home/jovyan/.postgresql",
    ];
    let image = image(&["tini", "-g", "--"], &["start-notebook.sh"], &environment);
    Image { user: "jovyan".to_owned(), ports: vec![8888], ..image }
}

/// aiidalab/aiidalab-docker-stack:22.8.1
fn classic() -> Image {
    let environment =
        ["AIIDALAB_HOME=/home/aiida", "AIIDALAB_APPS=/home/aiida/apps", "SYSTEM_USER=aiida", "PYTHONPATH=/x"];
    image(&[], &["/sbin/my_my_init"], &environment)
}

/// pyiron/pyiron:2024-06-24
fn pyiron() -> Image {
    let environment =
        ["NB_USER=jovyan", "NB_UID=1000", "OMPI_MCA_plm=isolated", "OMPI_MCA_rmaps_base_oversubscribe=yes"];
    image(&["tini", "-g", "--"], &["start-notebook.py"], &environment)
}

/// rocker/rstudio:4.4.2
fn rstudio() -> Image {
    let environment = ["S6_VERSION=v2.1.0.2", "RSTUDIO_VERSION=2024.09.1+394", "DEFAULT_USER=rstudio"];
    Image { ports: vec![8787], ..image(&[], &["/init"], &environment) }
}

/// codercom/code-server:4.96.4
fn code_server() -> Image {
    let entrypoint = ["/usr/bin/entrypoint.sh", "--bind-addr", "0.0.0.0:8080", "."];
    Image {
        ports: vec![8080],
        ..image(&entrypoint, &[], &["USER=coder", "ENTRYPOINTD=/home/coder/entrypoint.d"])
    }
}

/// gcr.io/example/lab
fn plain() -> Image {
    image(&["tini", "--"], &["jupyter", "lab", "--ip=0.0.0.0"], &[])
}

#[test]
fn every_kind_of_image_is_found_and_it_is_said_what_shows_it() {
    for (image, preset, why) in [
        (docker_stacks(), Preset::DockerStacks, "its command is start-notebook.py"),
        (full_stack(), Preset::AiidalabFullStack, "AIIDALAB_HOME"),
        (classic(), Preset::AiidalabClassic, "its command is /sbin/my_my_init"),
        (pyiron(), Preset::Pyiron, "OMPI_MCA_plm"),
        (rstudio(), Preset::Web, "exposes port 8787 alone"),
        (code_server(), Preset::Web, "exposes port 8080 alone"),
        (plain(), Preset::Jupyter, "its command has jupyter"),
        (Image::default(), Preset::Jupyter, "nothing shows what it is"),
    ] {
        let found = find(&profile(""), &image);
        assert_eq!(found.preset, preset, "{image:?}");
        assert!(found.why.contains(why), "{}", found.why);
    }
}

#[test]
fn the_profile_has_the_last_word_on_its_preset_and_on_each_part_of_it() {
    let said = profile(
        "preset = \"web\"\nport = 3000\ndefault_url = \"/x\"\nstart_timeout = \"1s\"\nstop_timeout = \"2s\"\n\
         stop_commands = [[\"bye\"]]\nstop_user = \"root\"",
    );
    assert_eq!(find(&said, &full_stack()).preset, Preset::Web);
    for preset in Preset::ALL {
        let settled = settle(&said, preset);
        assert_eq!(settled.default_url, "/x");
        assert_eq!((settled.start_timeout.as_secs(), settled.stop_timeout.as_secs()), (1, 2));
        assert_eq!((settled.stop_commands, settled.stop_user), (vec![owned(&["bye"])], Some("root".into())));
        assert_eq!(port(&said, preset, &rstudio()).0, 3000);
    }
    let none = settle(&profile("stop_commands = []"), Preset::AiidalabFullStack);
    assert!(none.stop_commands.is_empty(), "no commands is a word, too");
}

#[test]
fn an_ordered_stop_takes_the_services_down_in_their_order_and_as_their_user() {
    let settled = settle(&profile(""), Preset::AiidalabFullStack);
    let programs: Vec<String> = settled.stop_commands.iter().map(|words| words.join(" ")).collect();
    assert!(programs[0].ends_with("verdi daemon stop"), "{programs:?}");
    assert!(programs[1].ends_with("rabbitmqctl stop"), "{programs:?}");
    assert!(programs[2].ends_with("pg_ctl -m fast stop"), "{programs:?}");
    assert_eq!((settled.stop_timeout.as_secs(), settled.start_timeout.as_secs()), (120, 600));
    assert_eq!(settled.stop_user, None, "the image's own user");
    let root = settle(&profile("user = \"root\""), Preset::AiidalabFullStack);
    assert_eq!(root.stop_user.as_deref(), Some("jovyan"));
}

#[test]
fn a_classic_image_is_stopped_by_root_who_becomes_its_user_for_what_is_theirs() {
    let settled = settle(&profile(""), Preset::AiidalabClassic);
    assert_eq!(settled.stop_user.as_deref(), Some("root"));
    let [daemon, broker, database] = settled.stop_commands.as_slice() else { panic!("{settled:?}") };
    let ends = |words: &[String], end: &str| words.last().unwrap().ends_with(end);
    assert!(
        ends(daemon, "verdi daemon stop; }' \"$SYSTEM_USER\"") && daemon.concat().contains("su -c"),
        "{daemon:?}"
    );
    assert!(ends(broker, "rabbitmqctl stop") && !broker.concat().contains("su "), "{broker:?}");
    let stop = "pg_ctl -m fast stop -D /home/$SYSTEM_USER/.postgresql\" \"$SYSTEM_USER\"";
    assert!(ends(database, stop), "{database:?}");
    assert_eq!((settled.stop_timeout.as_secs(), settled.start_timeout.as_secs()), (120, 600));
    assert_eq!(settled.options.len(), 1, "it has AiiDAlab's factory reset, too");
}

#[test]
fn users_land_where_the_program_leads_that_a_profile_chooses() {
    let url = |keys: &str, preset| settle(&profile(keys), preset).default_url;
    let runs = |program: &str| format!("environment = {{ DOCKER_STACKS_JUPYTER_CMD = \"{program}\" }}");
    assert_eq!(url(&runs("nbclassic"), Preset::DockerStacks), "/");
    assert_eq!(url(&runs("notebook"), Preset::Pyiron), "/");
    assert_eq!(url("command = [\"jupyter\", \"notebook\"]", Preset::Jupyter), "/");
    assert_eq!(url(&runs("lab"), Preset::DockerStacks), "/lab");
    assert_eq!(url("command = [\"jupyter\", \"lab\"]", Preset::Jupyter), "/lab");
    let hub = format!("mode = \"hub\"\n{}", runs("nbclassic"));
    assert_eq!(url(&hub, Preset::DockerStacks), "/lab", "a hub's image does not run it");
    assert_eq!(url(&runs("notebook"), Preset::AiidalabFullStack), "/apps/apps/home/start.ipynb");
}

#[test]
fn the_mode_follows_the_command_and_says_why() {
    let (found, why) = mode(&profile(""), Preset::AiidalabFullStack, &full_stack());
    assert_eq!(found, Mode::Token, "{why}");
    let hub = profile("command = [\"start-singleuser.sh\"]");
    let (found, why) = mode(&hub, Preset::DockerStacks, &docker_stacks());
    assert_eq!(found, Mode::Hub);
    assert!(why.contains("start-singleuser.sh"), "{why}");
    assert_eq!(mode(&profile("mode = \"hub\""), Preset::Jupyter, &plain()).0, Mode::Hub);
}

#[test]
fn a_home_is_where_the_image_has_it() {
    let home = |text: &str, preset| settle(&profile(text), preset).home;
    assert_eq!(home("", Preset::AiidalabClassic).as_deref(), Some("/home/aiida"));
    assert_eq!(home("", Preset::AiidalabFullStack).as_deref(), Some("/home/jovyan"));
    let named = "environment = { NB_USER = \"anna\" }";
    assert_eq!(home(named, Preset::DockerStacks).as_deref(), Some("/home/jovyan"), "only root renames");
    let root = format!("user = \"0:0\"\n{named}");
    assert_eq!(home(&root, Preset::DockerStacks).as_deref(), Some("/home/anna"));
    assert_eq!(home("", Preset::Web), None);
}

#[test]
fn any_program_is_up_when_its_first_page_answers_and_jupyter_when_its_api_does() {
    let base = "/user/alice/";
    assert_eq!(readiness(&profile(""), Preset::DockerStacks, base), "/user/alice/api");
    assert_eq!(readiness(&profile(""), Preset::Web, base), "/user/alice/");
    assert_eq!(readiness(&profile("strip_path = true"), Preset::Web, base), "/");
}

#[test]
fn a_preset_is_written_as_it_is_read() {
    for preset in Preset::ALL {
        assert_eq!(profile(&format!("preset = {:?}", preset.name())).preset, Some(preset));
        assert_eq!(Preset::named(preset.name()), Some(preset));
    }
}

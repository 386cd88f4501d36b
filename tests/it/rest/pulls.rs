//! Images that are not there yet: whoever starts one waits for its pull, as long as it moves.

use std::time::Duration;

use support::docker::Image;
use support::eventually::eventually;
use support::hub::{EVERYONE, Hub};
use tokio::time::Instant;

use super::Program;
use crate::BINARY;

const SERVER: &str = "/users/alice/server";
const NOT_AHEAD: &str = "# docker: prepull = false\n";
const CREATE: &str = "/images/create";

fn profile(name: &str) -> String {
    format!("[[profile]]\nname = \"{name}\"\nimage = \"{name}:1\"\n")
}

/// A hub whose registry has these images, and does not send them to their end before it is let go on.
async fn hub(sections: &str, images: &[&str]) -> Hub {
    let profiles: String = images.iter().map(|name| profile(name)).collect();
    let hub = Hub::with(BINARY, &format!("{EVERYONE}{sections}{profiles}")).await;
    hub.engine().hold(CREATE);
    for name in images {
        let image = Image { command: vec!["jupyter".to_owned()], ..Image::default() };
        hub.engine().publish_image(&format!("{name}:1"), image);
    }
    hub
}

async fn until(program: &Program<'_>, server: &str, key: &str) {
    eventually(key, || async { program.get(server).await[key] == true }).await;
}

#[tokio::test]
async fn a_pull_is_none_of_a_starts_own_time() {
    let hub = Hub::with(
        BINARY,
        &format!(
            "{EVERYONE}{NOT_AHEAD}[[profile]]\nname = \"lab\"\nimage = \"big:1\"\nstart_timeout = \"3s\"\n"
        ),
    )
    .await;
    hub.engine().hold(CREATE);
    hub.engine().publish_image("big:1", Image { command: vec!["jupyter".to_owned()], ..Image::default() });
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    let began = Instant::now();
    assert_eq!(program.ask("POST", SERVER, "").await.status, 202);
    eventually("more time than a start has", || async { began.elapsed() > Duration::from_secs(4) }).await;
    assert_eq!(program.get(SERVER).await["pending"], "spawn");
    hub.engine().release(CREATE);
    until(&program, SERVER, "ready").await;
}

#[tokio::test]
async fn a_pull_that_stands_still_is_given_up_and_the_next_start_begins_another() {
    let hub = hub(&format!("{NOT_AHEAD}# docker: pull_idle_timeout = \"1s\"\n"), &["big"]).await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    assert_eq!(program.ask("POST", SERVER, "").await.status, 202);
    hub.process().until_logged("no progress for 1 s").await;
    until(&program, SERVER, "stopped").await;
    let page = alice.open("/user/alice/").await.text();
    assert!(page.contains("could not be fetched"), "{page}");
    hub.engine().release(CREATE);
    assert_eq!(program.ask("POST", SERVER, "").await.status, 202);
    until(&program, SERVER, "ready").await;
}

#[tokio::test]
async fn all_who_wait_for_one_image_share_one_pull_and_see_how_far_it_is() {
    let hub = hub(NOT_AHEAD, &["big"]).await;
    let users = ["alice", "bob", "carol"];
    let mut people = Vec::new();
    for user in users {
        hub.answer_at(user, "").await;
        let mut person = hub.signed_in(user).await;
        assert_eq!(person.open(&format!("/user/{user}/")).await.status, 503, "it starts");
        people.push(person);
    }
    for (user, person) in users.iter().zip(&people) {
        eventually("the page says how far it is", || {
            let mut person = person.clone();
            async move {
                let page = person.open(&format!("/user/{user}/")).await.text();
                page.contains("big: fetching the image, 400 of 1000 MB")
            }
        })
        .await;
    }
    let mut alice = people[0].clone();
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    let following = program.begin(&format!("{SERVER}/progress")).await;
    hub.engine().release(CREATE);
    let told = following.rest().await;
    assert!(told.contains("fetching the image, 400 of 1000 MB") && told.contains("\"ready\":true"), "{told}");
    for (user, mut person) in users.into_iter().zip(people) {
        hub.until_open(&mut person, &format!("/user/{user}/")).await;
    }
    assert_eq!(hub.engine().pulls(), ["big:1"]);
}

#[tokio::test]
async fn images_of_profiles_are_fetched_ahead_one_by_one_and_again_when_that_fails() {
    let hub = hub(&profile("gone"), &["big", "huge"]).await;
    hub.process().until_logged("could not be fetched ahead").await;
    let log = hub.process().log();
    assert!(log.contains("remedy=\"pull or build the image by hand"), "{log}");
    eventually("the first is being fetched", || async { hub.engine().pulls().len() == 1 }).await;
    hub.answer_at("alice", "").await;
    let mut alice = hub.signed_in("alice").await;
    let program = Program::new(&hub, &mut alice, &["servers"]).await;
    assert_eq!(hub.engine().pulls().len(), 1, "one after the other");
    hub.engine().release(CREATE);
    eventually("the other is being fetched", || async { hub.engine().pulls().len() == 2 }).await;
    assert_eq!(program.ask("POST", SERVER, "{\"profile\": \"big\"}").await.status, 202);
    until(&program, SERVER, "ready").await;
    let mut pulls = hub.engine().pulls();
    pulls.sort();
    assert_eq!(pulls, ["big:1", "huge:1"], "nobody fetched one twice");
}

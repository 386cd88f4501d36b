//! What the engine tells of containers that end.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tracing::debug;

use super::Names;
use super::adopt::Adoption;
use super::container::{INSTANCE, USER};
use super::engine::{Connected, Engine};
use crate::clock::Clock;
use crate::spawner::Event;

/// Ends of workspaces, as they happen, until the engine goes away.
pub(super) fn watch(
    engine: Arc<Engine>,
    names: Names,
    adoption: Option<Arc<Adoption>>,
) -> BoxStream<'static, Event> {
    // From now on, not from when the connection is made: nothing is lost between the two.
    let since = Clock::system().now().to_string();
    let connecting = async move {
        let connected = engine.connect().await;
        engine.note(&connected);
        connected.inspect_err(|error| debug!(%error, "no events")).ok()
    };
    stream::once(connecting)
        .filter_map(std::future::ready)
        .flat_map(move |engine| follow(&engine, &since, names.clone(), adoption.clone()))
        .boxed()
}

/// Events that end a workspace; `remove` is Podman's `destroy`.
const ENDINGS: [&str; 4] = ["die", "destroy", "oom", "remove"];

fn follow(
    engine: &Connected,
    since: &str,
    names: Names,
    adoption: Option<Arc<Adoption>>,
) -> BoxStream<'static, Event> {
    let mut filters = HashMap::from([("type", vec!["container"])]);
    // Health checks alone make several events a second: Docker keeps them to itself. Podman compares with its own
    // names of events, and knows no label without a value.
    if !engine.podman {
        filters.insert("event", ENDINGS.to_vec());
        // What was taken over has no labels of ours.
        if adoption.is_none() {
            filters.insert("label", vec![USER]);
        }
    }
    let options = EventsOptionsBuilder::new().since(since).filters(&filters).build();
    let events = engine.client().events(Some(options));
    events
        .inspect_err(|error| debug!(%error, "events end"))
        .take_while(|event| std::future::ready(event.is_ok()))
        .filter_map(move |event| {
            let event = event
                .ok()
                .filter(|event| event.action.as_deref().is_some_and(|action| ENDINGS.contains(&action)));
            std::future::ready(event.and_then(|event| ending(event, &names, adoption.as_deref())))
        })
        .boxed()
}

fn ending(event: EventMessage, names: &Names, adoption: Option<&Adoption>) -> Option<Event> {
    let actor = event.actor?;
    if let Some(id) = actor.id.as_deref().and_then(|container| adoption?.known(container)) {
        return Some(Event { id, instance: actor.id?.into() });
    }
    let labels = actor.attributes?;
    let id = names.id_of(labels.get("name")?, &labels)?;
    Some(Event { id, instance: labels.get(INSTANCE)?.as_str().into() })
}

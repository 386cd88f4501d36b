//! Pulls: one for each image, however many wait for it. It goes on when all of them have gone, and ends by itself when it
//! stands still.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::watch;
use tracing::{info, warn};

use super::engine::Connected;
use crate::logging::cause;
use crate::metrics::{Call, Metrics};
use crate::spawner::{Phase, Progress, Pulled, SpawnError, tagged};
use crate::tasks::Tasks;

/// All pulls that are under way.
#[derive(Debug)]
pub(super) struct Pulls {
    idle_timeout: Duration,
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Step>>>>,
    /// Not the process's own: shutdown waits for no pull.
    tasks: Tasks,
    metrics: Metrics,
}

/// How a pull goes.
#[derive(Debug, Clone)]
enum Step {
    Going(Pulled),
    Done,
    Failed(Arc<PullError>),
}

/// Why a pull came to nothing: the same for all who wait for it.
#[derive(Debug)]
enum PullError {
    Refused(Arc<Error>),
    Stalled(Duration),
}

impl Pulls {
    pub(super) fn new(idle_timeout: Duration, metrics: Metrics) -> Self {
        Self { idle_timeout, under_way: Arc::default(), tasks: Tasks::default(), metrics }
    }

    /// Waits until the image is fetched, by the pull that is under way or by a new one.
    pub(super) async fn fetch(
        &self,
        engine: &Connected,
        image: &str,
        progress: &Progress,
    ) -> Result<(), SpawnError> {
        let mut steps = self.join(engine, image);
        loop {
            match &*steps.borrow_and_update() {
                Step::Going(pulled) => progress.report(Phase::Pulling(*pulled)),
                Step::Done => return Ok(()),
                Step::Failed(error) => return Err(error.of(engine, image)),
            }
            tokio::select! {
                () = progress.cancelled().cancelled() => return Err(SpawnError::Cancelled),
                changed = steps.changed() => {
                    changed.map_err(|_gone| failed(image, "it was broken off"))?;
                }
            }
        }
    }

    fn join(&self, engine: &Connected, image: &str) -> watch::Receiver<Step> {
        let image = &*tagged(image);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was broken off has nobody who tells of it any more.
        if let Some(steps) = under_way.get(image).filter(|steps| steps.has_changed().is_ok()) {
            return steps.clone();
        }
        let (teller, steps) = watch::channel(Step::Going(Pulled::default()));
        under_way.insert(image.to_owned(), steps.clone());
        let pulling = Pulling { engine: engine.clone(), image: image.to_owned(), teller };
        let (all, idle_timeout, metrics) =
            (Arc::clone(&self.under_way), self.idle_timeout, self.metrics.clone());
        drop(self.tasks.spawn(async move {
            let outcome = pulling.run(idle_timeout).await;
            let result = outcome.as_ref().err().map_or("ok", |error| error.kind());
            metrics.spawner_calls.get_or_create(&Call { call: "pull", result }).inc();
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&pulling.image);
            pulling.end(outcome);
        }));
        steps
    }
}

/// One pull.
struct Pulling {
    engine: Connected,
    image: String,
    teller: watch::Sender<Step>,
}

impl Pulling {
    async fn run(&self, idle_timeout: Duration) -> Result<(), PullError> {
        info!(event = "image_pull_began", image = self.image, "an image is being fetched");
        let began = Instant::now();
        let options = CreateImageOptionsBuilder::new().from_image(&self.image).build();
        let mut steps = self.engine.client().create_image(Some(options), None, None).boxed();
        let mut layers = Layers::default();
        let mut moved = tokio::time::Instant::now();
        loop {
            match tokio::time::timeout_at(moved + idle_timeout, steps.next()).await {
                Ok(Some(Ok(step))) => {
                    // An engine that tries again and again says so each second: that is no progress.
                    if layers.update(step) {
                        moved = tokio::time::Instant::now();
                        self.teller.send_replace(Step::Going(layers.pulled()));
                    }
                }
                Ok(Some(Err(error))) => return Err(PullError::Refused(error.into())),
                Ok(None) => break,
                Err(_elapsed) => return Err(PullError::Stalled(idle_timeout)),
            }
        }
        info!(event = "image_pulled", image = self.image, elapsed = ?began.elapsed(), "an image was fetched");
        Ok(())
    }

    fn end(&self, outcome: Result<(), PullError>) {
        let step = match outcome {
            Ok(()) => Step::Done,
            Err(error) => {
                // Whoever waits tells it better.
                if self.teller.receiver_count() == 0 {
                    let error = error.of(&self.engine, &self.image);
                    warn!(
                        event = "image_not_pulled",
                        image = self.image,
                        error = cause(&error),
                        remedy = error.remedy(),
                        "an image could not be fetched"
                    );
                }
                Step::Failed(Arc::new(error))
            }
        };
        self.teller.send_replace(step);
    }
}

impl PullError {
    fn of(&self, engine: &Connected, image: &str) -> SpawnError {
        match self {
            Self::Refused(error) => engine.pull_error(image, error),
            Self::Stalled(after) => {
                let seconds = after.as_secs();
                failed(image, &format!("no progress for {seconds} s (spawner.docker.pull_idle_timeout)"))
            }
        }
    }

    /// A label for metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Stalled(_) => "stalled",
        }
    }
}

pub(super) fn failed(image: &str, why: &str) -> SpawnError {
    SpawnError::Pull { image: image.to_owned(), source: why.into() }
}

/// More layers than any image has (the storage drivers stop at 128).
const LAYERS: usize = 512;

/// The layers of an image that are not here, as the engine reports them.
#[derive(Debug, Default)]
struct Layers(HashMap<String, Layer>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Layer {
    done: u64,
    /// Known when its bytes begin to come.
    total: Option<u64>,
    fetched: bool,
    /// So far, in whatever the engine counts.
    unpacking: Option<i64>,
    unpacked: bool,
}

impl Layers {
    /// Whether anything has moved.
    fn update(&mut self, step: CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (step.id, step.status) else { return false };
        let status = status.as_str();
        if status == "Already exists" {
            return self.0.remove(&id).is_some();
        }
        if matches!(status, "Pulling fs layer" | "Downloading")
            && !self.0.contains_key(&id)
            && self.0.len() < LAYERS
        {
            self.0.insert(id.clone(), Layer::default());
        }
        let Some(layer) = self.0.get_mut(&id) else { return false };
        let before = layer.clone();
        let current = step.progress_detail.as_ref().and_then(|detail| detail.current);
        match status {
            "Downloading" => {
                let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
                layer.done = bytes(current).unwrap_or(layer.done);
                let total = step.progress_detail.and_then(|detail| bytes(detail.total));
                layer.total = total.filter(|total| *total > 0).map(|total| total.max(layer.done));
            }
            "Verifying Checksum" | "Download complete" => layer.fetch(),
            "Extracting" => {
                layer.fetch();
                layer.unpacking = current;
            }
            "Pull complete" => {
                layer.fetch();
                layer.unpacked = true;
            }
            // New, or waiting.
            _ => return before == Layer::default() && status == "Pulling fs layer",
        }
        *layer != before
    }

    fn pulled(&self) -> Pulled {
        let count = |which: fn(&Layer) -> bool| self.0.values().filter(|layer| which(layer)).count();
        Pulled {
            done: self.0.values().fold(0, |done, layer| done.saturating_add(layer.done)),
            // A sum of some would grow, and make little of what is still to come.
            total: self.0.values().try_fold(0, |total: u64, layer| Some(total.saturating_add(layer.total?))),
            layers: self.0.len(),
            fetched: count(|layer| layer.fetched),
            unpacked: count(|layer| layer.unpacked),
        }
    }
}

impl Layer {
    fn fetch(&mut self) {
        self.done = self.total.unwrap_or(self.done);
        self.total = Some(self.done);
        self.fetched = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn step(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn every_layer_counts_once() {
        let mut layers = Layers::default();
        for layer in ["a", "b", "c"] {
            assert!(layers.update(step(layer, "Pulling fs layer", 0, 0)));
        }
        layers.update(step("a", "Downloading", 10, 100));
        layers.update(step("b", "Downloading", 5, 50));
        layers.update(step("c", "Already exists", 0, 0));
        let mut pulled = Pulled { done: 15, total: Some(150), layers: 2, fetched: 0, unpacked: 0 };
        assert_eq!(layers.pulled(), pulled);
        layers.update(step("a", "Extracting", 1, 400));
        pulled = Pulled { done: 105, fetched: 1, ..pulled };
        assert_eq!(layers.pulled(), pulled);
        layers.update(step("b", "Download complete", 0, 0));
        layers.update(step("a", "Pull complete", 0, 0));
        assert_eq!(layers.pulled(), Pulled { done: 150, fetched: 2, unpacked: 1, ..pulled });
    }

    #[test]
    fn no_total_is_told_before_all_layers_have_said_their_size() {
        let mut layers = Layers::default();
        layers.update(step("a", "Pulling fs layer", 0, 0));
        layers.update(step("b", "Pulling fs layer", 0, 0));
        layers.update(step("a", "Downloading", 10, 100));
        assert_eq!(layers.pulled().total, None);
        layers.update(step("b", "Download complete", 0, 0));
        assert_eq!(layers.pulled().total, Some(100));
    }

    #[test]
    fn only_what_moves_is_progress() {
        let mut layers = Layers::default();
        assert!(!layers.update(step("1", "Pulling from lab", 0, 0)));
        assert!(layers.update(step("a", "Pulling fs layer", 0, 0)));
        assert!(!layers.update(step("a", "Waiting", 0, 0)));
        assert!(layers.update(step("a", "Downloading", 10, 100)));
        assert!(!layers.update(step("a", "Downloading", 10, 100)));
        for left in [5, 4, 3] {
            assert!(!layers.update(step("a", &format!("Retrying in {left} seconds"), 0, 0)));
        }
        assert!(layers.update(step("a", "Extracting", 10, 100)));
        assert!(layers.update(step("a", "Extracting", 20, 100)));
        assert!(layers.update(step("a", "Pull complete", 0, 0)));
        assert!(!layers.update(step("a", "Pull complete", 0, 0)));
    }
}

//! Stub.
use super::*;

/// Stub.
#[derive(Debug)]
pub(super) struct Docker;

impl Docker {
    pub(super) fn new(_config: &config::Spawner, _metrics: Metrics) -> Result<Self, SpawnError> {
        todo!()
    }
}

#[async_trait]
impl Spawner for Docker {
    async fn image(&self, _image: &str, _progress: &Progress) -> Result<Image, SpawnError> {
        todo!()
    }
    async fn start(&self, _spec: &Spec, _progress: &Progress) -> Result<Running, SpawnError> {
        todo!()
    }
    async fn status(&self, _id: &WorkspaceId) -> Result<Status, SpawnError> {
        todo!()
    }
    async fn stop(&self, _id: &WorkspaceId, _timeout: Duration) -> Result<(), SpawnError> {
        todo!()
    }
    async fn list(&self) -> Result<Vec<Running>, SpawnError> {
        todo!()
    }
    fn events(&self) -> BoxStream<'static, Event> {
        todo!()
    }
    async fn ping(&self) -> Result<(), SpawnError> {
        todo!()
    }
}

//! How a workspace ends: in the order that its image needs, and in bounded time.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::{info, warn};

use super::{State, Workspaces};
use crate::config::Preset;
use crate::logging::cause;
use crate::preset;
use crate::spawner::{SpawnError, WorkspaceId};

impl Workspaces {
    /// Runs the stop commands of a workspace's profile inside it, then stops it. The profile may be gone: then there is
    /// nothing to run. What goes wrong inside never keeps a workspace from being stopped.
    pub(super) async fn end(
        &self,
        id: &WorkspaceId,
        profile: &str,
        preset: Option<Preset>,
    ) -> Result<(), SpawnError> {
        let Some(profile) = self.profile(profile) else {
            return self.0.spawner.stop(id, UNKNOWN).await;
        };
        let settled = preset::settle(profile, preset.unwrap_or_else(|| self.0.kinds.of(profile)));
        let commands = &settled.stop_commands;
        if commands.is_empty() || !self.0.place.images {
            return self.0.spawner.stop(id, settled.stop_timeout).await;
        }
        // The programs that are left still need their time after the signal.
        let reserve = (settled.stop_timeout / 4).min(MOST_RESERVED);
        let deadline = Instant::now() + settled.stop_timeout;
        for (index, command) in commands.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(reserve);
            // One that hangs leaves the others their share.
            let share = left / u32::try_from(commands.len() - index).unwrap_or(u32::MAX);
            if !self.run_inside(id, command, settled.stop_user.as_deref(), share).await {
                break;
            }
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(reserve);
        self.0.spawner.stop(id, left).await
    }

    /// Another process has the runtime now: what was begun there is that one's to find.
    pub(super) fn let_go(&self, id: &WorkspaceId) {
        self.0.states.remove(id);
        self.forget_instance(id);
        self.count();
    }

    /// Those that are on their way down.
    pub fn stopping(&self) -> HashSet<WorkspaceId> {
        let stopping = self.0.states.iter().filter(|entry| matches!(entry.value(), State::Stopping));
        stopping.map(|entry| entry.key().clone()).collect()
    }

    /// Whether a workspace is on its way up or down.
    pub fn are_busy(&self) -> bool {
        self.0.states.iter().any(|state| matches!(*state, State::Starting(_) | State::Stopping))
    }

    /// Whether there is anything left to run commands in.
    async fn run_inside(
        &self,
        id: &WorkspaceId,
        command: &[String],
        user: Option<&str>,
        share: Duration,
    ) -> bool {
        let program = command.join(" ");
        match timeout(share, self.0.spawner.run(id, command, user)).await {
            Ok(Ok(None)) => return false,
            Ok(Ok(Some(ended))) if ended.exit_code == Some(0) => {
                info!(event = "stop_command_ran", workspace = %id, command = program, "a stop command ran");
            }
            Ok(Ok(Some(ended))) => {
                warn!(event = "stop_command_failed", workspace = %id, command = program, exit_code = ended.exit_code, last_lines = ended.log, "a stop command failed; the stop goes on");
            }
            Ok(Err(error)) => {
                warn!(event = "stop_command_failed", workspace = %id, command = program, error = cause(&error), "a stop command could not be run; the stop goes on");
            }
            Err(_elapsed) => {
                warn!(event = "stop_command_failed", workspace = %id, command = program, after = ?share, "a stop command did not end in time; the stop goes on");
            }
        }
        true
    }
}

/// For a workspace whose profile is not configured any more.
const UNKNOWN: Duration = Duration::from_secs(10);
/// What the commands leave of the time for the stop signal at most.
const MOST_RESERVED: Duration = Duration::from_secs(10);

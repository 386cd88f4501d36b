//! Programs that are run in a container beside its own.

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;

use super::engine::{Connected, PROMPT};
use crate::spawner::output::Tail;
use crate::spawner::{Ended, SpawnError};

/// Runs a program and waits until it has ended: whoever calls has a deadline. What it wrote is told without the
/// container's secrets.
pub(super) async fn run(
    engine: &Connected,
    container: &str,
    command: &[String],
    user: Option<&str>,
    environment: &[&str],
) -> Result<Ended, SpawnError> {
    let doing = format!("run {} in container {container}", command.first().map_or("nothing", String::as_str));
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.to_vec()),
        user: user.map(str::to_owned),
        ..CreateExecOptions::default()
    };
    let exec = engine.call(&doing, PROMPT, |client| client.create_exec(container, options)).await?.id;
    let options = StartExecOptions { detach: false, tty: false, output_capacity: None };
    let started = engine.call(&doing, PROMPT, |client| client.start_exec(&exec, Some(options))).await?;
    let mut tail = Tail::default();
    if let StartExecResults::Attached { mut output, input } = started {
        while let Some(Ok(
            LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message },
        )) = output.next().await
        {
            tail.push(&message);
        }
        drop(input);
    }
    let ended = engine.call(&doing, PROMPT, |client| client.inspect_exec(&exec)).await?;
    let log = tail.text(environment.iter().copied());
    Ok(Ended { exit_code: ended.exit_code, out_of_memory: false, log })
}

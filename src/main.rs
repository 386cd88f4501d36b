//! Parses the command line, runs it, prints what went wrong, and chooses the exit code.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use hubgate::cli::{Cli, Command, Step};
use hubgate::clock::Clock;
use hubgate::config::{self, Config, ConfigError, Finding};
use hubgate::connect::{self, ConnectError};
use hubgate::images::{self, ImageError};
use hubgate::import::ImportError;
use hubgate::login::{self, LoginError};
use hubgate::operate::OperateError;
use hubgate::secret::Secret;
use hubgate::tls::Certificates;
use hubgate::{app, demo};

/// The configuration is wrong; clap uses the same for a wrong command line.
const EXIT_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve { config, handover: Some(Step::Begin) } => {
            end(app::begin(&config), |error| Some(error.remedy()), |_error| false)
        }
        Command::Serve { config, handover } => serve(&config, handover.is_some()),
        Command::Check { config, image } => match usable(&config) {
            Ok((known, certificates)) => {
                for dated in certificates.dated(Clock::system().now()) {
                    write_error(&format!("warning: {dated}\n"));
                }
                say(&format!("{} is usable", config.display()), ExitCode::SUCCESS);
                image.map_or(ExitCode::SUCCESS, |image| looked_at(images::run(&known, &image)))
            }
            Err(code) => code,
        },
        Command::Demo(options) => end(demo::run(options), demo::DemoError::remedy, |_error| false),
        Command::Connect(options) => connected(connect::run(*options)),
        Command::Login(options) => signed_in(login::run(options)),
        Command::Session(command) => operated(command.run()),
        Command::User(command) => operated(command.run()),
        Command::Token(command) => operated(command.run()),
        Command::Share(command) => operated(command.run()),
        Command::Workspace(command) => operated(command.run()),
        Command::Explain(command) => operated(command.run()),
        Command::Import(command) => imported(command.run()),
        Command::Upgrade(command) => operated(command.run()),
        Command::Version => say(&format!("hubgate {}", env!("CARGO_PKG_VERSION")), ExitCode::SUCCESS),
    }
}

fn serve(path: &Path, takes_over: bool) -> ExitCode {
    // Before another file lies there.
    let program = app::Program::running(path).ok();
    match usable(path) {
        Ok((config, _)) if takes_over => {
            end(app::take_over(config, program), app::AppError::remedy, app::AppError::is_configuration)
        }
        Ok((config, _)) => {
            end(app::run(config, program), app::AppError::remedy, app::AppError::is_configuration)
        }
        Err(code) => code,
    }
}

/// The configuration, if nothing is wrong with it; else everything that is.
fn usable(path: &Path) -> Result<(Config, Certificates), ExitCode> {
    let mut findings = match config::load(path) {
        Ok(loaded) => {
            let findings = config::check(&loaded);
            if findings.is_empty() {
                match Certificates::load(&loaded.config.certificate) {
                    Ok(certificates) => return Ok((loaded.config, certificates)),
                    Err(error) => {
                        complain(&error, Some(error.remedy()));
                        return Err(ExitCode::from(EXIT_CONFIGURATION));
                    }
                }
            }
            findings
        }
        Err(error) => return Err(unusable(error)),
    };
    findings.sort_by_key(|finding| finding.line);
    Err(unusable(ConfigError::Findings(findings)))
}

/// Says all that is wrong with the configuration.
fn unusable(error: ConfigError) -> ExitCode {
    if let ConfigError::Findings(findings) = &error {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        let count = count(lines.len());
        write_error(&format!("{}\nerror: {count} to mend before hubgate starts\n", lines.join("\n")));
    } else {
        complain(&error, Some("name the configuration with --config"));
    }
    ExitCode::from(EXIT_CONFIGURATION)
}

/// What was found out about a provider.
fn connected(outcome: Result<connect::Answer, ConnectError>) -> ExitCode {
    match outcome {
        Ok(answer) => {
            let code = if answer.usable { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            say(answer.text.trim_end(), code)
        }
        Err(ConnectError::Config(error)) => unusable(error),
        Err(error) => end(Err(error), |error| Some(error.remedy()), ConnectError::is_configuration),
    }
}

/// What an image is.
fn looked_at(outcome: Result<images::Answer, ImageError>) -> ExitCode {
    match outcome {
        Ok(answer) => {
            let code = if answer.usable { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIGURATION) };
            say(answer.text.trim_end(), code)
        }
        Err(error) => end(Err(error), ImageError::remedy, ImageError::is_configuration),
    }
}

/// A token, for whoever reads the output.
fn signed_in(outcome: Result<Option<Secret>, LoginError>) -> ExitCode {
    match outcome {
        Ok(Some(token)) => say(token.expose(), ExitCode::SUCCESS),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => end(Err(error), |error| Some(error.remedy()), LoginError::is_configuration),
    }
}

/// What the hub that runs said.
fn operated(outcome: Result<String, OperateError>) -> ExitCode {
    match outcome {
        Ok(text) => say(text.trim_end(), ExitCode::SUCCESS),
        Err(OperateError::Config(error)) => unusable(error),
        Err(error) => {
            complain(&error, error.remedy());
            ExitCode::from(if error.is_configuration() { EXIT_CONFIGURATION } else { 1 })
        }
    }
}

/// What is in another hub's database.
fn imported(outcome: Result<String, ImportError>) -> ExitCode {
    match outcome {
        Ok(text) => say(text.trim_end(), ExitCode::SUCCESS),
        Err(ImportError::Config(error)) => unusable(error),
        Err(error) => end(Err(error), ImportError::remedy, ImportError::is_configuration),
    }
}

fn count(findings: usize) -> String {
    if findings == 1 { "1 finding".to_owned() } else { format!("{findings} findings") }
}

fn end<E: Error>(
    outcome: Result<(), E>,
    remedy: impl Fn(&E) -> Option<&'static str>,
    is_configuration: impl Fn(&E) -> bool,
) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    complain(&error, remedy(&error));
    if is_configuration(&error) { ExitCode::from(EXIT_CONFIGURATION) } else { ExitCode::FAILURE }
}

/// The error, its causes, and what to do.
fn complain(error: &dyn Error, remedy: Option<&str>) {
    write_error(&format!("error: {error}\n"));
    let mut cause = error.source();
    while let Some(error) = cause {
        write_error(&format!("  caused by: {error}\n"));
        cause = error.source();
    }
    if let Some(remedy) = remedy {
        write_error(&format!("  hint: {remedy}\n"));
    }
}

/// Whoever closed the pipe does not want to read it.
fn write_error(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    drop(writeln!(std::io::stdout(), "{text}"));
    code
}

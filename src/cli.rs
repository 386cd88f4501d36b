//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// One program in front of a multi-user notebook hub.
#[derive(Debug, Parser)]
#[command(name = "hubgate", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What hubgate does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the hub.
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = crate::config::PATH)]
        config: PathBuf,
        /// How a hub that runs starts the one that takes over from it.
        #[arg(long, hide = true)]
        handover: Option<Step>,
    },
    /// Say everything that is wrong with a configuration, and start nothing.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = crate::config::PATH)]
        config: PathBuf,
        /// Ask the engine for this image as well, and say what it is and what that means for the profiles that use it.
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
    },
    /// Try hubgate out on this machine, with a provider and two users of its own.
    Demo(crate::demo::Options),
    /// Find an OpenID provider, and say what hubgate must be registered as there; or register it, at Keycloak.
    Connect(Box<crate::connect::Options>),
    /// Sign a program in at a hub: confirm it in your browser, and it gets a token.
    Login(crate::login::Options),
    /// List and end sessions of signed-in people.
    #[command(subcommand)]
    Session(crate::operate::SessionCommand),
    /// List who has been here.
    #[command(subcommand)]
    User(crate::operate::UserCommand),
    /// List, make and revoke API tokens of users.
    #[command(subcommand)]
    Token(crate::operate::TokenCommand),
    /// List and revoke what users share with others.
    #[command(subcommand)]
    Share(crate::operate::ShareCommand),
    /// List and stop users' servers.
    #[command(subcommand)]
    Workspace(crate::operate::WorkspaceCommand),
    /// Say why a user may enter or not, and what they get: which rule gives what.
    Explain(Box<crate::operate::ExplainCommand>),
    /// Say what becomes of another hub's users, groups and servers here; write what can be.
    #[command(subcommand)]
    Import(crate::import::ImportCommand),
    /// Let a new release take over from the hub that runs: open websockets stay open.
    Upgrade(crate::operate::UpgradeCommand),
    /// Print the version.
    Version,
}

/// Of two processes, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Step {
    /// Starts the other.
    Begin,
    /// Takes over.
    Take,
}

//! `hubgate explain`: asks the hub that runs; where none does, reads its configuration and its store.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use http::Method;
use serde::Deserialize as _;
use serde_json::{Map, Value};
use std::sync::Arc;

use super::ask::{AskError, Hub};
use super::{OperateError, Where, runtime, socket, user};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::explain::{Described, Explainer, Explanation, near};
use crate::identity::Identity;
use crate::people::People;
use crate::seal::Sealer;
use crate::store::Store;
use crate::user::UserName;

/// Whom to explain.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ExplainCommand {
    /// The user, by the name that they have here
    #[arg(value_name = "USER", required_unless_present = "claims")]
    pub user: Option<String>,
    /// In place of what a provider has said: a file with claims, as one JSON object. Nothing is asked or kept
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    pub claims: Option<PathBuf>,
    /// The provider that those claims would come from, where there are several
    #[arg(long, value_name = "NAME", requires = "claims")]
    pub provider: Option<String>,
    /// Where the hub is
    #[command(flatten)]
    pub place: Where,
}

impl ExplainCommand {
    /// Does it; answers what to print.
    pub fn run(self) -> Result<String, OperateError> {
        let name = self.user.as_deref().map(user).transpose()?;
        let (told, source) = match (&self.claims, &name) {
            (Some(claims), _) => (self.suppose(claims, name.as_ref())?, Source::Claims),
            (None, Some(name)) => runtime()?.block_on(self.known(name))?,
            (None, None) => return Err(OperateError::Nothing),
        };
        if self.place.json {
            return Ok(format!("{:#}", serde_json::json!(told)));
        }
        Ok(format!("{}{}", source.words(), told.words()))
    }

    /// Somebody who has been here.
    async fn known(&self, name: &UserName) -> Result<(Explanation, Source), OperateError> {
        let path = format!("/users/{}/explanation", name.path_segment());
        let outcome = Hub::at(socket(&self.place)?).ask(Method::GET, &path, None).await;
        match outcome {
            Ok(answer) => Ok((Explanation::deserialize(answer).map_err(AskError::Foreign)?, Source::Running)),
            // By a socket alone nobody finds the files.
            Err(OperateError::Ask(AskError::Reach { source, .. }))
                if self.place.socket.is_none() && is_nobody_there(&source) =>
            {
                let config = config::load(&self.place.config)?.config;
                Ok((from_store(&config, name).await?, Source::Files))
            }
            Err(error) => Err(error),
        }
    }

    /// Somebody of whom a provider would say this.
    fn suppose(&self, claims: &Path, name: Option<&UserName>) -> Result<Explanation, OperateError> {
        let explainer = Explainer::new(&config::load(&self.place.config)?.config);
        let provider = match (&self.provider, explainer.providers()) {
            (Some(name), all) => all.iter().find(|known| *known == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let provider =
            provider.ok_or_else(|| OperateError::Provider { known: explainer.providers().to_vec() })?;
        let claims = read(claims)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let identity = Identity { issuer: text("iss"), subject: text("sub"), sid: None, claims };
        Ok(explainer.person(Described { provider, identity: &identity, name, at: None, barred: false }))
    }
}

/// Where an explanation comes from.
enum Source {
    Running,
    Files,
    Claims,
}

impl Source {
    fn words(&self) -> &'static str {
        match self {
            Self::Running => "",
            Self::Files => "hubgate does not run: this is by its configuration and its store.\n\n",
            Self::Claims => "This is by the configuration and the claims that were given.\n\n",
        }
    }
}

fn is_nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// The same that the hub that runs would say, but of tokens.
async fn from_store(config: &Config, name: &UserName) -> Result<Explanation, OperateError> {
    let (store, key) = Store::look(&config.store.folder).await?;
    let people = People::new(store, Arc::new(Sealer::new(&key)), Clock::system());
    let Some(known) = people.recall(name).await? else {
        let names: Vec<UserName> = people.all().await?.into_iter().map(|person| person.name).collect();
        let near = near(name.as_str(), &names).into_iter().map(ToString::to_string).collect();
        return Err(OperateError::Nobody { name: name.clone(), near });
    };
    let described = Described {
        provider: &known.provider,
        identity: &known.identity,
        name: Some(name),
        at: Some(known.at),
        barred: known.barred,
    };
    Ok(Explainer::new(config).person(described))
}

fn read(path: &Path) -> Result<Map<String, Value>, OperateError> {
    let failed = |source| OperateError::Claims { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text)).map_err(failed)?;
    serde_json::from_str(&text).map_err(|error| failed(error.into()))
}

/// More than any provider says.
const MOST_BYTES: u64 = 1 << 20;

//! What sessions ask of the parts beside them, and tell them.

use std::sync::Arc;

use tracing::error;

use crate::gateway::Bearers;
use crate::logging::cause;
use crate::mapping::Mapping;
use crate::people::People;
use crate::session::{Judge, News, Tell};
use crate::share::Shares;
use crate::tasks::Tasks;
use crate::token::{ApiTokens, Right};
use crate::workspace::Workspaces;

/// Who is asked and told.
pub(super) struct Hooks {
    pub(super) mapping: Mapping,
    pub(super) people: People,
    pub(super) api_tokens: ApiTokens,
    pub(super) bearers: Arc<Bearers>,
    pub(super) shares: Shares,
    pub(super) workspaces: Workspaces,
    pub(super) tasks: Tasks,
}

impl Hooks {
    pub(super) fn judge(&self) -> Judge {
        let mapping = self.mapping.clone();
        Arc::new(move |provider, identity, name| mapping.user(provider, identity, name.clone()).ok())
    }

    pub(super) fn tell(self) -> Tell {
        let Self { mapping, people, api_tokens, bearers, shares, workspaces, tasks } = self;
        Arc::new(move |name, news| match news {
            News::Token(token) => workspaces.give_token(name, token),
            News::Less => bearers.end_of(name),
            // What holds for a session from now on holds for the same person's tokens, and is known when they are away.
            News::Judged(provider, identity, user) => {
                shares.judged(name, user.is_some());
                shares.told(&mapping.groups(provider, identity));
                let (people, api_tokens, bearers) =
                    (people.clone(), api_tokens.clone(), Arc::clone(&bearers));
                let (provider, identity) = (Arc::clone(provider), identity.clone());
                let name = name.clone();
                // The rules would let them in: then it is the provider that does not.
                let barred = user.is_none() && mapping.user(&provider, &identity, name.clone()).is_ok();
                let right = user.map(|user| Right { provider: Arc::clone(&provider), user: user.clone() });
                let writing = tasks.writing();
                tasks.spawn(async move {
                    let _writing = writing;
                    let out = right.is_none();
                    let judged = api_tokens.judged(&name, right).await;
                    let kept = if barred {
                        people.bar(&name, &provider, &identity).await
                    } else {
                        people.remember(&name, &provider, &identity).await
                    };
                    // Once it is written down that they are out: whoever comes with another from now on finds it there.
                    if out {
                        bearers.end_of(&name);
                    }
                    if let Err(error) = kept.and(judged) {
                        error!(error = cause(&error), "cannot write down what is new of a user");
                    }
                });
            }
        })
    }
}

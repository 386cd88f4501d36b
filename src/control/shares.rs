//! Carries out orders about shares and links.

use serde_json::Value;
use tracing::info;

use super::answer::shown;
use super::unanswered::Unanswered;
use super::wire::{Ended, Share};
use super::{Control, Peer};
use crate::clock::utc;
use crate::explain::SharedSays;
use crate::share::{self, Code, CodeId, ShareId};
use crate::user::{User, UserName};

impl Control {
    /// Of one owner, or of all.
    pub(super) fn list_shares(&self, owner: Option<&UserName>) -> Value {
        let shares = self.0.shares.all(|share| owner.is_none_or(|owner| share.of.user == *owner));
        let codes = self.0.shares.codes(|code| owner.is_none_or(|owner| code.of.user == *owner));
        let told = shares.iter().map(|share| told(share)).chain(codes.iter().map(|code| told_code(code)));
        shown(told.collect::<Vec<_>>())
    }

    /// What somebody shares with others, and others with them and their groups.
    pub(super) fn explained_shares(&self, user: &User) -> (Vec<SharedSays>, Vec<SharedSays>) {
        let shares = self.0.shares.of(&user.name);
        let codes = self.0.shares.codes_of(&user.name);
        let gives = shares.iter().map(|share| told(share)).chain(codes.iter().map(|code| told_code(code)));
        let has = self.0.shares.with(user);
        (gives.map(says).collect(), has.iter().map(|share| says(told(share))).collect())
    }

    pub(super) async fn end_share(&self, id: ShareId, peer: Peer) -> Result<Value, Unanswered> {
        let share = self.0.shares.all(|share| share.id == id).pop();
        let share = share.ok_or_else(|| Unanswered::NoShare(id.to_string()))?;
        info!(event = "share_end_ordered", owner = %share.of.user, server = share.of.server.as_str(), by = %peer, "an administrator revokes a share");
        self.0.shares.end(&share).await?;
        Ok(shown(Ended { ended: 1 }))
    }

    pub(super) async fn end_code(&self, id: CodeId, peer: Peer) -> Result<Value, Unanswered> {
        let code = self.0.shares.codes(|code| code.id == id).pop();
        let code = code.ok_or_else(|| Unanswered::NoShare(id.to_string()))?;
        info!(event = "share_end_ordered", owner = %code.of.user, server = code.of.server.as_str(), by = %peer, "an administrator revokes a link");
        self.0.shares.end_code(&code).await?;
        Ok(shown(Ended { ended: 1 }))
    }

    /// Whatever an owner shares.
    pub(super) async fn end_shares_of(&self, owner: &UserName, peer: Peer) -> Result<Value, Unanswered> {
        info!(event = "share_end_ordered", %owner, by = %peer, "an administrator revokes all shares of a user");
        let ended = self.0.shares.end_all_of(owner).await?;
        Ok(shown(Ended { ended }))
    }
}

fn told(share: &share::Share) -> Share {
    let terms = share.terms();
    Share {
        id: share.id.to_string(),
        owner: share.of.user.to_string(),
        server: share.of.server.to_string(),
        kind: share.with.kind().to_owned(),
        with: Some(share.with.name().to_owned()),
        access: terms.access.name().to_owned(),
        expires: terms.expires.map(utc),
    }
}

fn says(share: Share) -> SharedSays {
    let Share { id, owner, server, kind, with, access, expires } = share;
    SharedSays { owner, server, kind, with: with.unwrap_or(id), access, expires }
}

fn told_code(code: &Code) -> Share {
    Share {
        id: code.id.to_string(),
        owner: code.of.user.to_string(),
        server: code.of.server.to_string(),
        kind: "link".to_owned(),
        with: None,
        access: code.access.name().to_owned(),
        expires: Some(utc(code.expires)),
    }
}

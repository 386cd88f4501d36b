//! A session at a user's own host: known by a cookie of that host's, which is worth nothing at any other.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;

use super::{ID_BYTES, Session, SessionId, Sessions, hex};
use crate::cookies;
use crate::secret::Secret;

impl Sessions {
    /// What a browser holds at the host of this label in place of the session's id, which stays at the hub's own host. It
    /// is made of what is known anyway, so nothing of it is kept, and it ends with the session.
    pub fn cookie_at(&self, session: &Session, label: &str) -> Secret {
        let proof = self.proof(&session.id, label);
        Secret::new(format!("{}.{}", URL_SAFE_NO_PAD.encode(session.id), proof.expose()))
    }

    /// What images there bind their XSRF tokens to: at each host another, as theirs is no other's business.
    pub fn jupyterhub_id_at(&self, session: &Session, label: &str) -> Secret {
        self.0.sealer.derive("jupyterhub-session-id at host", &of(&session.id, label))
    }

    /// The live session of a request's cookie at the host of this label; notes that it was used. See [`Sessions::find`].
    pub fn find_at(&self, headers: &HeaderMap, label: &str) -> Option<Arc<Session>> {
        let (id, proof) = cookies::find(headers, cookies::SESSION)?.split_once('.')?;
        let id = parse(id)?;
        if !self.proof(&id, label).matches(proof) {
            return None;
        }
        let session = self.by_id(&id)?;
        self.note(&session);
        Some(session)
    }

    fn proof(&self, id: &SessionId, label: &str) -> Secret {
        self.0.sealer.derive("session at host", &of(id, label))
    }
}

/// A label holds no dot.
fn of(id: &SessionId, label: &str) -> String {
    format!("{}.{label}", hex(id))
}

fn parse(text: &str) -> Option<SessionId> {
    let mut decoded = [0; 36];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut decoded).ok()?;
    decoded.get(..length)?.first_chunk::<ID_BYTES>().filter(|_| length == ID_BYTES).copied()
}

//! What comes in queries and forms.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::refusal::Refusal;
use crate::secret::Secret;
use crate::session::Session;

/// Names and values; no name is looked at that came twice.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

const MAX_BYTES: usize = 64 * 1024;
const DEADLINE: Duration = Duration::from_secs(15);

impl Form {
    pub(super) fn of_query(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    /// What a link says of a start: options by their names, or with JupyterHub 6's `opt-` before them.
    pub(super) fn of_link(uri: &Uri) -> Self {
        let mut link = Self::of_query(uri);
        for (name, _) in &mut link.0 {
            if let Some(option) = name.strip_prefix("opt-") {
                *name = option.to_owned();
            }
        }
        link
    }

    /// The form in a body.
    pub(super) async fn of_body(request: Request<Incoming>) -> Result<Self, Refusal> {
        Ok(Self::parse(&encoded(request).await?))
    }

    fn parse(bytes: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The one value of this name.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The same of what a program sends, which is told of a name that came twice.
    pub(super) fn at_most_one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let value = self.one(name);
        if value.is_none() && self.all(name).next().is_some() {
            return Err(Refusal::BadRequest("a parameter is there twice"));
        }
        Ok(value)
    }

    /// Every value of this name.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The form comes from a page that this session was given.
    pub(super) fn check_token(&self, session: &Session) -> Result<(), Refusal> {
        self.check(&session.form_token)
    }

    /// The form comes from a page with this token.
    pub(super) fn check(&self, token: &Secret) -> Result<(), Refusal> {
        let given = self.one(TOKEN).unwrap_or_default();
        if token.matches(given) { Ok(()) } else { Err(Refusal::CrossSite) }
    }
}

/// The field of a form that holds the session's token.
pub(super) const TOKEN: &str = "form_token";

/// The bytes of the form in a body.
pub(super) async fn encoded(request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(Refusal::BadRequest("not a form"));
    }
    read(request).await
}

/// A whole small body.
pub(super) async fn read(request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    let body = Limited::new(request.into_body(), MAX_BYTES).collect();
    let body = tokio::time::timeout(DEADLINE, body).await.map_err(|_late| Refusal::BadRequest("too slow"))?;
    match body {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge),
        Err(_broken) => Err(Refusal::BadRequest("the body broke off")),
    }
}

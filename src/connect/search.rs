//! Looks for the provider, and says which of its names is the issuer: what its description says, to the last slash.

use std::error::Error;

use url::Url;

use super::ConnectError;
use super::address::{candidates, issuer_of};
use super::remark::{BEHIND_A_PROXY, Description, Remark};
use crate::clock::Timestamp;
use crate::oidc::OidcError;
use crate::oidc::probe::{self, Probe};

/// A provider, found.
#[derive(Debug)]
pub(super) struct Found {
    /// What it calls itself: what `provider.issuer` must say.
    pub(super) issuer: String,
    /// Where its description was read.
    pub(super) document: Url,
    /// Whether hubgate must be told where the description is, since it is not below the issuer, or not to be reached there.
    pub(super) elsewhere: bool,
    pub(super) description: Description,
    /// The time there, if it tells.
    pub(super) date: Option<Timestamp>,
    /// About its name and its place.
    pub(super) remarks: Vec<Remark>,
}

/// Looks at every place that `text` may mean.
pub(super) async fn find(text: &str, probe: &Probe) -> Result<Found, ConnectError> {
    let places = candidates(text);
    if places.is_empty() {
        return Err(ConnectError::Address { text: text.to_owned() });
    }
    let mut found: Option<(Url, probe::Found)> = None;
    let mut tried = Vec::new();
    for place in places {
        match probe_at(&place, probe).await {
            Ok(description) => {
                // A proxy may answer at both; the one that agrees with itself is the one that is meant.
                let agrees = names_itself(&description, &place);
                if found.is_none() || agrees {
                    found = Some((place, description));
                }
                if agrees {
                    break;
                }
            }
            Err(why) => tried.push((place, why)),
        }
    }
    let Some((document, found)) = found else { return Err(ConnectError::NotFound { tried }) };
    let mut provider = named(document.clone(), found, probe).await?;
    if let Some((asked, why)) = tried.first() {
        let what = format!("it is at {}, not at {} ({why})", issuer_of(&document), issuer_of(asked));
        provider.remarks.insert(0, Remark::note("place", what, None));
    }
    Ok(provider)
}

async fn probe_at(document: &Url, probe: &Probe) -> Result<probe::Found, String> {
    probe.check("the address", document).map_err(|error| why(&error))?;
    let found = probe.describe(document).await.map_err(|error| why(&error))?;
    if issuer(&found).is_none() {
        return Err("what is there does not say its issuer".to_owned());
    }
    Ok(found)
}

fn issuer(found: &probe::Found) -> Option<&str> {
    found.members.get("issuer").and_then(serde_json::Value::as_str)
}

/// The same up to slashes at the end.
fn names_itself(found: &probe::Found, document: &Url) -> bool {
    issuer(found).map(|issuer| issuer.trim_end_matches('/')) == Some(&issuer_of(document))
}

/// What it calls itself, and whether it can be found under that name.
async fn named(document: Url, found: probe::Found, probe: &Probe) -> Result<Found, ConnectError> {
    let name = issuer(&found).unwrap_or_default().to_owned();
    let mut provider = Found {
        issuer: name,
        elsewhere: false,
        description: Description(found.members.clone()),
        date: found.date,
        remarks: Vec::new(),
        document,
    };
    if names_itself(&found, &provider.document) {
        if provider.issuer.ends_with('/') {
            provider.remarks.push(Remark::note(
                "issuer",
                "its name ends with a slash, which belongs to it",
                None,
            ));
        }
        return Ok(provider);
    }
    let Some(own) =
        candidates(&provider.issuer).into_iter().next().filter(|_| provider.issuer.contains("://"))
    else {
        let what = format!("it calls itself {:?}, which is no address", provider.issuer);
        provider.remarks.push(Remark::error("issuer", what, "Keycloak: set --hostname=https://… in full"));
        return Ok(provider);
    };
    if downgraded(&own, &provider.document) {
        let what = format!("it calls itself {}, though it was found by https", provider.issuer);
        provider.remarks.push(Remark::error("issuer", what, BEHIND_A_PROXY));
        return Ok(provider);
    }
    match probe_at(&own, probe).await {
        Ok(there) if issuer(&there) == Some(&provider.issuer) => {
            let what = format!(
                "it was asked at {}, and calls itself otherwise: that is the name to use",
                issuer_of(&provider.document)
            );
            provider.remarks.push(Remark::note("issuer", what, None));
            provider.document = own;
            provider.description = Description(there.members);
            provider.date = there.date;
        }
        answer => {
            let why = match answer {
                Ok(there) => format!("there, {:?} answers", issuer(&there).unwrap_or_default()),
                Err(why) => why,
            };
            let what =
                format!("it calls itself {}, where it cannot be read from here ({why})", provider.issuer);
            provider.remarks.push(Remark::warning("issuer", what, OTHER_NAME));
            provider.elsewhere = true;
        }
    }
    Ok(provider)
}

/// The same place but for TLS.
fn downgraded(own: &Url, document: &Url) -> bool {
    own.scheme() == "http"
        && document.scheme() == "https"
        && own.host() == document.host()
        && own.path() == document.path()
}

/// What is behind an error, on one line. What it says itself is where it was, which is known here.
pub(super) fn why(error: &OidcError) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    match (causes.is_empty(), error) {
        (false, _) => causes.join(": "),
        (true, OidcError::Settings { what, .. }) => what.clone(),
        (true, error) => error.to_string(),
    }
}

const OTHER_NAME: &str = "keep discovery_url as below if machines inside reach it by another name than browsers; else set Keycloak's \
     --hostname to the address that browsers use (--hostname-backchannel-dynamic=true is for both)";

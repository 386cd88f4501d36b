//! Long lists come in pages, as JupyterHub's do: who asks for the media type gets them described, others a bare list.

use http::header::ACCEPT;
use http::{Request, Response, StatusCode, Uri};
use serde_json::{Value, json};

use crate::gateway::Body;
use crate::gateway::form::Form;
use crate::gateway::hosts::Origin;
use crate::gateway::page::json;
use crate::gateway::refusal::Refusal;

/// Which part of a list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    offset: usize,
    limit: usize,
    /// The items are enclosed in an object that says which they are.
    described: bool,
}

impl Page {
    /// The page that a request asks for, of a list that is described to whoever asks for [`MEDIA_TYPE`].
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        Self::read(request, false)
    }

    /// The same, of a list that is always described.
    pub(super) fn enclosed<B>(request: &Request<B>) -> Result<Self, Refusal> {
        Self::read(request, true)
    }

    fn read<B>(request: &Request<B>, always: bool) -> Result<Self, Refusal> {
        let mut accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let described = always || accepted.any(|value| value.contains(MEDIA_TYPE));
        let query = Form::of_query(request.uri());
        let number = |name: &str| query.at_most_one(name)?.map(number).transpose();
        let limit = number("limit")?.unwrap_or(if described { USUAL } else { MOST });
        let offset = number("offset")?.unwrap_or(0);
        Ok(Self { offset, limit: limit.clamp(1, MOST), described })
    }

    /// What of a whole list is on it.
    pub(super) fn cut<T>(&self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.offset).take(self.limit).collect()
    }

    /// The answer with these items, of so many in all.
    pub(super) fn answer(&self, items: Value, total: usize, uri: &Uri, at: &Origin) -> Response<Body> {
        if !self.described {
            return json(StatusCode::OK, &items);
        }
        let Self { offset, limit, .. } = *self;
        let following = offset.saturating_add(limit);
        let next = (following < total)
            .then(|| json!({ "offset": following, "limit": limit, "url": self.address(following, uri, at) }));
        let pagination = json!({ "offset": offset, "limit": limit, "total": total, "next": next });
        // `application/json`, as JupyterHub says of it, too.
        json(StatusCode::OK, &json!({ "items": items, "_pagination": pagination }))
    }

    /// The same request for the page that begins there.
    fn address(&self, offset: usize, uri: &Uri, at: &Origin) -> String {
        let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let kept = query.filter(|(name, _)| name != "offset" && name != "limit");
        let mut next = url::form_urlencoded::Serializer::new(String::new());
        next.extend_pairs(kept);
        next.append_pair("offset", &offset.to_string()).append_pair("limit", &self.limit.to_string());
        format!("{}{}?{}", at.origin, uri.path(), next.finish())
    }
}

/// JupyterHub's reading: a sign says nothing, and what is too much or too little is what can be.
fn number(text: &str) -> Result<usize, Refusal> {
    let wrong = |_error| Refusal::BadRequest("offset and limit must be numbers");
    let number: i64 = text.trim().parse().map_err(wrong)?;
    Ok(usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX))
}

/// What a client asks for that wants to know of the next page.
const MEDIA_TYPE: &str = "application/jupyterhub-pagination+json";

/// Items of a page for whoever does not say.
const USUAL: usize = 50;

/// And of any page.
const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn page(uri: &str, accept: &str) -> Result<Page, Refusal> {
        Page::of(&Request::get(uri).header(ACCEPT, accept).body(()).unwrap())
    }

    #[test]
    fn a_page_has_a_bound() {
        let described = |offset, limit| Page { offset, limit, described: true };
        for (uri, expected) in [
            ("/", described(0, 50)),
            ("/?limit=7&offset=14", described(14, 7)),
            ("/?limit=100000", described(0, 200)),
            ("/?limit=0", described(0, 1)),
            ("/?limit=-7&offset=-3", described(3, 7)),
        ] {
            assert_eq!(page(uri, MEDIA_TYPE).unwrap(), expected, "{uri}");
        }
        assert_eq!(page("/", "*/*").unwrap(), Page { offset: 0, limit: 200, described: false });
        for wrong in
            ["/?limit=x", "/?limit=", "/?limit=1.5", "/?offset=99999999999999999999", "/?limit=1&limit=2"]
        {
            assert!(page(wrong, MEDIA_TYPE).is_err(), "{wrong}");
        }
        assert_eq!(described(2, 2).cut(vec![1, 2, 3, 4, 5]), [3, 4]);
        assert!(described(9, 2).cut(vec![1, 2, 3]).is_empty());
    }

    #[test]
    fn the_next_page_keeps_what_was_asked_for() {
        let at = Origin::new(&"https://hub.example".parse().unwrap(), vec![]);
        let uri: Uri = "/hub/api/users?state=ready&limit=2&name_filter=a%26b".parse().unwrap();
        let next = Page { offset: 2, limit: 2, described: true }.address(4, &uri, &at);
        let expected = "https://hub.example/hub/api/users?state=ready&name_filter=a%26b&offset=4&limit=2";
        assert_eq!(next, expected);
    }
}

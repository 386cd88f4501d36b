//! Pages of our own: one template, no script, nothing from elsewhere.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use http::header::{REFERRER_POLICY, REFRESH, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{Response, StatusCode};
use minijinja::{Environment, Value, context};
use serde::Serialize;

use super::Body;
use super::form::TOKEN;
use super::refusal::Refusal;
use crate::logging::cause;
use crate::seal::sha256;
use crate::secret::Secret;
use crate::session::Session;

/// The templates, ready to render.
#[derive(Debug)]
pub(super) struct Pages {
    templates: Environment<'static>,
    policy: String,
    contact: Option<String>,
}

/// What a page says.
#[derive(Debug, Default, Serialize)]
pub(super) struct Page {
    pub title: String,
    pub paragraphs: Vec<String>,
    /// Something to copy, set apart.
    pub shown: Option<String>,
    /// A list: each has a heading, what there is to say, and perhaps something to do.
    pub rows: Vec<Row>,
    pub actions: Vec<Action>,
    /// The name of whoever is signed in.
    pub user: Option<String>,
    /// Something that concerns everybody, above all else.
    pub notice: Option<String>,
    /// Something is under way: the page looks again by itself.
    pub busy: bool,
    /// Shown on error pages, and found in the log.
    pub request: Option<String>,
}

/// One of a list, and what can be done with it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Row {
    pub title: String,
    pub lines: Vec<String>,
    pub actions: Vec<Action>,
}

/// What a person fills in.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Input {
    /// A line of text.
    Text { name: &'static str, label: &'static str, value: String, length: usize },
    /// Something to choose, or not.
    Choice { name: &'static str, label: String, value: Cow<'static, str>, chosen: bool },
    /// One of several.
    Select { name: Cow<'static, str>, label: Cow<'static, str>, options: Vec<(String, String)> },
}

/// What a person can do on a page.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Action {
    /// Go somewhere.
    Link { label: String, href: String },
    /// Change something: a form with hidden fields, and perhaps some to fill in.
    Form {
        label: String,
        action: String,
        fields: Vec<(String, String)>,
        inputs: Vec<Input>,
        primary: bool,
        note: String,
    },
}

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const STYLE: &str = include_str!("pages/style.css");
const PAGE: &str = include_str!("pages/page.html");
const LOGO: &str = include_str!("pages/logo.svg");

impl Action {
    pub(super) fn link(label: &str, href: &str) -> Self {
        Self::Link { label: label.to_owned(), href: href.to_owned() }
    }

    /// A form that this session may send.
    pub(super) fn form(session: &Session, label: &str, action: &str, fields: &[(&str, &str)]) -> Self {
        Self::form_of(&session.form_token, label, action, fields)
    }

    /// A form with this token.
    pub(super) fn form_of(token: &Secret, label: &str, action: &str, fields: &[(&str, &str)]) -> Self {
        let mut all: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.push((TOKEN.to_owned(), token.expose().to_owned()));
        Self::Form {
            label: label.to_owned(),
            action: action.to_owned(),
            fields: all,
            inputs: Vec::new(),
            primary: true,
            note: String::new(),
        }
    }

    /// The same, less prominent.
    pub(super) fn second(self) -> Self {
        match self {
            Self::Form { label, action, fields, inputs, note, .. } => {
                Self::Form { label, action, fields, inputs, note, primary: false }
            }
            Self::Link { .. } => self,
        }
    }

    /// The same, with something to fill in.
    pub(super) fn asking(self, inputs: Vec<Input>) -> Self {
        match self {
            Self::Form { label, action, fields, note, primary, .. } => {
                Self::Form { label, action, fields, inputs, note, primary }
            }
            Self::Link { .. } => self,
        }
    }
}

impl Pages {
    pub(super) fn new(contact: Option<String>) -> Self {
        let mut templates = Environment::new();
        #[expect(clippy::expect_used, reason = "the template is compiled in, and a test renders it")]
        templates.add_template("page.html", PAGE).expect("a template that parses");
        // Only this one style, known by its hash; a page that loads nothing leaks nothing.
        let style = STANDARD.encode(sha256(STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        Self { templates, policy, contact }
    }

    pub(super) fn refusal(&self, request: u64, status: StatusCode, refusal: &Refusal) -> Response<Body> {
        let words = refusal.words();
        let starting = matches!(refusal, Refusal::Starting { .. } | Refusal::Stopping);
        let way_out = refusal.way_out().map(|(label, href)| Action::link(label, href));
        let actions = refusal.offers().iter().cloned().chain(way_out).collect();
        let page = Page {
            title: words.title.to_owned(),
            paragraphs: vec![words.what, words.remedy.to_owned()],
            actions,
            busy: starting,
            request: (!starting).then(|| format!("{request:016x}")),
            ..Page::default()
        };
        self.render(status, &page)
    }

    pub(super) fn render(&self, status: StatusCode, page: &Page) -> Response<Body> {
        let values = context! { page => Value::from(minijinja::value::Serde(page)), contact => &self.contact, style => Value::from_safe_string(STYLE.to_owned()) };
        let html = self.templates.get_template("page.html").and_then(|template| template.render(values));
        let html = html.unwrap_or_else(|error| {
            tracing::error!(error = cause(&error), "a page cannot be rendered");
            page.title.clone()
        });
        let mut response = Response::new(Body::full(html));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        if page.busy {
            headers.insert(REFRESH, HeaderValue::from_static("2"));
        }
        if let Ok(policy) = HeaderValue::from_str(&self.policy) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
        never_stored(headers);
        response
    }
}

/// Whatever opened a page of ours cannot reach into it, workspaces of the same host neither: for browsers of which
/// [`cuts_openers_off`](super::head::cuts_openers_off) holds. In others that holds of pages with another policy only.
pub(super) fn cut_opener_off(headers: &mut HeaderMap) {
    if let Some(policy) = headers.get_mut(OPENER_POLICY) {
        *policy = HeaderValue::from_static("noopener-allow-popups");
    }
}

/// Answers of ours depend on who asks, and name nobody to whoever is linked from them. Not `no-referrer`: browsers
/// would send `Origin: null` with our own forms.
pub(super) fn never_stored(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Cookie"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::full(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    never_stored(response.headers_mut());
    response
}

pub(super) fn logo() -> Response<Body> {
    let mut response = Response::new(Body::full(LOGO));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/svg+xml"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(page: &Page) -> String {
        match Pages::new(Some("Ask <lab@example.org>".into())).render(StatusCode::OK, page).into_body() {
            Body::Full(Some(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            Body::Full(None) | Body::Forwarded(_) | Body::Events(_) | Body::File(_) => {
                panic!("a page has bytes")
            }
        }
    }

    #[test]
    fn whatever_a_page_shows_is_text() {
        let evil = "\"><script>alert(1)</script>";
        let page = Page {
            title: evil.into(),
            paragraphs: vec![evil.into()],
            actions: vec![
                Action::Link { label: evil.into(), href: evil.into() },
                Action::Form {
                    label: evil.into(),
                    action: evil.into(),
                    fields: vec![(evil.into(), evil.into())],
                    inputs: vec![
                        Input::Text { name: "a", label: "b", value: evil.into(), length: 1 },
                        Input::Choice { name: "a", label: evil.into(), value: evil.into(), chosen: true },
                        Input::Select {
                            name: "a".into(),
                            label: "b".into(),
                            options: vec![(evil.into(), evil.into())],
                        },
                    ],
                    primary: true,
                    note: evil.into(),
                },
            ],
            shown: Some(evil.into()),
            rows: vec![Row { title: evil.into(), lines: vec![evil.into()], actions: vec![] }],
            user: Some(evil.into()),
            request: Some(evil.into()),
            notice: Some(evil.into()),
            busy: false,
        };
        let html = html(&page);
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;lab@example.org&gt;"));
        assert!(html.contains("&quot;&gt;&lt;script"));
    }

    #[test]
    fn a_page_loads_nothing_and_is_framed_by_nobody() {
        let response = Pages::new(None).render(StatusCode::OK, &Page::default());
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"));
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }
}

//! A person's browser at their server, without a screen: it goes through what a page's scripts do, request by request.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::client::{Answer, Client, PATIENCE};
use support::eventually::{eventually, found};
use support::process::Process;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use url::Url;

use crate::keycloak::Keycloak;
use crate::person::Person;

pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Somebody who is signed in, and their default server.
pub(crate) struct Visitor<'a> {
    pub(crate) hub: &'a Process,
    /// Where their server is: `/user/<name>`.
    pub(crate) base: String,
    pub(crate) browser: Client,
}

impl<'a> Visitor<'a> {
    /// Signs in at Keycloak.
    pub(crate) async fn sign_in(hub: &'a Process, user: &str) -> Self {
        let keycloak = Keycloak::connect().await;
        let person = Person::sign_in(hub, &keycloak, user).await;
        Self { hub, base: format!("/user/{user}"), browser: person.hub }
    }

    pub(crate) fn user(&self) -> &str {
        self.base.rsplit('/').next().unwrap()
    }

    pub(crate) fn api(&self, path: &str) -> String {
        format!("{}/api/{path}", self.base)
    }

    /// Path and query of a redirect.
    pub(crate) fn local(&self, location: &str) -> String {
        let url = Url::parse(&self.hub.origin()).unwrap().join(location).unwrap();
        assert_eq!(url.origin().ascii_serialization(), self.hub.origin(), "{location}");
        url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// Opens a page of the server until it has started.
    pub(crate) async fn open_when_ready(&mut self, page: &str) -> Answer {
        // AiiDA makes its database at the first start.
        found(&format!("{page} to start"), Duration::from_mins(6), async || {
            Some(self.browser.open(page).await).filter(|answer| answer.status != 503)
        })
        .await
    }

    /// The same, and whatever it redirects to: the paths on the way, and the page at its end.
    pub(crate) async fn lands(&mut self, page: &str) -> (Vec<String>, Answer) {
        let mut answer = self.open_when_ready(page).await;
        let mut hops = Vec::new();
        while (300..400).contains(&answer.status) && hops.len() < 10 {
            let location = self.local(answer.header("location").unwrap());
            hops.push(location.split('?').next().unwrap().to_owned());
            answer = self.browser.open(&location).await;
        }
        (hops, answer)
    }

    /// A script's request with what the page adds.
    pub(crate) async fn fetch(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let xsrf = self.browser.cookie("_xsrf").unwrap_or_default().to_owned();
        fetch(&mut self.browser, method, path, &xsrf, body).await
    }

    /// Opens a websocket as a page of this origin does; or the status that refuses it.
    pub(crate) async fn socket(&self, path: &str, origin: &str) -> Result<Socket, u16> {
        let host = self.browser.host();
        let mut request = format!("wss://{host}{path}").into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("origin", origin.parse().unwrap());
        headers.insert("cookie", self.browser.cookies().parse().unwrap());
        let stream = self.browser.connect(&["http/1.1"]).await;
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Starts a kernel: the path of its websocket.
    pub(crate) async fn kernel(&mut self) -> String {
        let kernels = self.api("kernels");
        let made = self.fetch("POST", &kernels, &json!({"name": "python3"})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        self.api(&format!("kernels/{}/channels?session_id=s1", made["id"].as_str().unwrap()))
    }

    /// Runs this in a new kernel until it has said what is wanted.
    pub(crate) async fn computes(&mut self, code: &str, wanted: &str) {
        let path = self.kernel().await;
        let mut socket = self.socket(&path, &self.hub.origin()).await.unwrap();
        run(&mut socket, code, wanted).await;
    }

    /// Saves a notebook of this name, which begins with these words.
    pub(crate) async fn saves(&mut self, name: &str, words: &str) -> Answer {
        let path = self.api(&format!("contents/{name}"));
        self.fetch("PUT", &path, &notebook(words)).await
    }

    /// How a saved notebook begins.
    pub(crate) async fn reads(&mut self, name: &str) -> Value {
        let path = self.api(&format!("contents/{name}"));
        let answer = self.fetch("GET", &path, &Value::Null).await;
        let read: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        read["content"]["cells"][0]["source"].clone()
    }

    /// Stops the server on the home page, and waits for its end.
    pub(crate) async fn stops(&mut self) {
        let home = self.browser.open("/hub/home").await;
        let token = home.field("form_token").unwrap();
        let answer = self.browser.submit("/hub/home", &[("action", "stop"), ("form_token", &token)]).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let status = self.api("status");
        eventually("the end of the server", || {
            let (mut browser, status) = (self.browser.clone(), status.clone());
            async move { browser.fetch("GET", &status, b"").await.status == 424 }
        })
        .await;
    }

    /// Chooses what to start, as a form of one's own pages does; with what else that has.
    pub(crate) async fn chooses(&mut self, profile: &str, more: &[(&str, &str)]) {
        let page = self.browser.open("/hub/home").await;
        let token = page.field("form_token").unwrap_or_else(|| panic!("{}", page.text()));
        let fields = [&[("profile", profile), ("form_token", &token)], more].concat();
        let answer = self.browser.submit("/hub/spawn", &fields).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
    }
}

/// A notebook of one cell.
pub(crate) fn notebook(words: &str) -> Value {
    json!({
        "type": "notebook", "format": "json",
        "content": {
            "nbformat": 4, "nbformat_minor": 4, "metadata": {},
            "cells": [{"cell_type": "markdown", "metadata": {}, "source": words}],
        },
    })
}

pub(crate) async fn fetch(
    browser: &mut Client,
    method: &str,
    path: &str,
    xsrf: &str,
    body: &Value,
) -> Answer {
    let origin = format!("https://{}", browser.host());
    let headers = [
        ("Accept", "*/*"),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Dest", "empty"),
        ("Content-Type", "application/json"),
        ("X-XSRFToken", xsrf),
    ];
    // A page that has no proof sends none.
    let headers = if xsrf.is_empty() { &headers[..6] } else { &headers[..] };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    browser.send(method, path, headers, body.as_bytes()).await
}

/// Asks a kernel to run this, and waits until it has said what is wanted.
pub(crate) async fn run(socket: &mut Socket, code: &str, wanted: &str) {
    let execute = json!({
        "channel": "shell", "parent_header": {}, "metadata": {}, "buffers": [],
        "header": {
            "msg_id": "m1", "session": "s1", "username": "", "msg_type": "execute_request", "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        },
        "content": {
            "code": code, "silent": false, "store_history": true, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true,
        },
    });
    socket.send(Message::text(execute.to_string())).await.unwrap();
    until_said(socket, wanted).await;
}

pub(crate) async fn until_said(socket: &mut Socket, wanted: &str) {
    let mut said = String::new();
    let whole = async {
        while let Some(message) = socket.next().await {
            said.push_str(message.unwrap().to_text().unwrap_or_default());
            if said.contains(wanted) {
                return true;
            }
        }
        false
    };
    let found = tokio::time::timeout(PATIENCE, whole).await;
    assert_eq!(found, Ok(true), "{wanted:?} in {said}");
}

//! Programs at other ports of real containers, which nothing in the image forwards to.

use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::Value;
use support::eventually::found;
use tokio_tungstenite::tungstenite::Message;

use crate::hub;
use crate::visitor::{Visitor, until_said};

const BINARY: &str = env!("CARGO_BIN_EXE_hubgate");

/// Begun by a user in a kernel: a page that says how it was asked, and a websocket that says what it hears.
const PROGRAM: &str = r#"
import subprocess, sys
subprocess.Popen([sys.executable, "-c", """
import asyncio, tornado.web, tornado.websocket
class Page(tornado.web.RequestHandler):
    def get(self):
        self.write("asked for " + self.request.uri)
class Echo(tornado.websocket.WebSocketHandler):
    def check_origin(self, origin):
        return True
    def on_message(self, message):
        self.write_message("heard " + message)
async def main():
    tornado.web.Application([("/echo", Echo), ("/.*", Page)]).listen(8050)
    await asyncio.Event().wait()
asyncio.run(main())
"""])
6*7
"#;

#[tokio::test]
async fn a_program_at_another_port_of_a_container_is_reached_with_its_websocket() {
    let port = 18221;
    let profile = hub::profile("token", port).replace("memory =", "ports = [8050]\nmemory =");
    let hub = hub::start(BINARY, &profile, port).await;
    let mut alice = Visitor::sign_in(&hub, "alice").await;
    let (_, lab) = alice.lands("/user/alice/lab").await;
    assert_eq!(lab.status, 200, "{}", lab.text());
    alice.computes(PROGRAM, "\"text/plain\": \"42\"").await;

    let page = "/user/alice/proxy/8050/a?b=c";
    // It needs a moment to listen.
    let answer = found("the program to listen", Duration::ZERO, async || {
        Some(alice.fetch("GET", page, &Value::Null).await).filter(|answer| answer.status == 200)
    })
    .await;
    assert_eq!(answer.text(), "asked for /a?b=c");
    let mut socket = alice.socket("/user/alice/proxy/8050/echo", &hub.origin()).await.unwrap();
    socket.send(Message::text("a word")).await.unwrap();
    until_said(&mut socket, "heard a word").await;

    let other = alice.fetch("GET", "/user/alice/proxy/8051/", &Value::Null).await;
    assert_ne!(other.status, 200, "no profile allows it: {}", other.text());
    let mut bob = Visitor::sign_in(&hub, "bob").await;
    assert_eq!(bob.fetch("GET", page, &Value::Null).await.status, 403);
    hub::clear(port).await;
}

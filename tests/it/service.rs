//! As a service: what the service manager is told (`sd_notify(3)`).

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::BINARY;
use crate::cli::write;

/// A service manager with one service.
struct Manager {
    socket: UnixDatagram,
    child: Child,
    _folder: TempDir,
}

impl Manager {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let config = write(folder.path(), 0, "");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The watchdog is for this process alone, as with systemd.
        let child = Command::new("/bin/sh")
            .args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh", BINARY, "serve", "--config", &config])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "400000")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { socket, child, _folder: folder }
    }

    /// The next message that holds `wanted`.
    fn until_told(&self, wanted: &str) -> String {
        let (began, mut buffer) = (Instant::now(), [0; 4096]);
        loop {
            // The watchdog's messages go on and on.
            assert!(began.elapsed() < PATIENCE, "waited in vain for {wanted}");
            let length = self.socket.recv(&mut buffer).expect("a message in time");
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.contains(wanted) {
                return message;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

/// For every step of a service.
const PATIENCE: Duration = Duration::from_mins(1);

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_service_manager_is_told_of_every_step() {
    let mut manager = Manager::start();
    manager.until_told("READY=1\n");
    manager.until_told("WATCHDOG=1\n");
    manager.signal(Signal::HUP);
    // From systemd 253 on the one without the other ends the service.
    let reloading = manager.until_told("RELOADING=1\n");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.until_told("READY=1\n");
    manager.until_told("WATCHDOG=1\n");
    manager.signal(Signal::TERM);
    manager.until_told("STOPPING=1\n");
    assert_eq!(manager.child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_service_manager_follows_to_the_process_that_takes_over() {
    let mut manager = Manager::start();
    manager.until_told("READY=1\n");
    manager.signal(Signal::USR2);
    let told = manager.until_told("MAINPID=");
    let (_, number) = told.split_once("MAINPID=").unwrap();
    let pid = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
    assert_ne!(pid, Pid::from_child(&manager.child));
    manager.until_told("READY=1\n");
    // Nothing is open in the old one, and it says nothing more.
    assert_eq!(manager.child.wait().unwrap().code(), Some(0));
    for _ in 0..3 {
        manager.until_told("WATCHDOG=1\n");
    }
    kill_process(pid, Signal::TERM).unwrap();
    manager.until_told("STOPPING=1\n");
}

//! Listening sockets: opened here, or handed over by systemd.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::config;

/// The sockets of the configuration, listening.
#[derive(Debug)]
pub struct Listeners {
    /// With TLS.
    pub https: Vec<TcpListener>,
    /// Only redirecting.
    pub http: Vec<TcpListener>,
    /// Health and metrics.
    pub operations: Option<TcpListener>,
    /// For containers.
    pub hub_api: Option<TcpListener>,
}

/// A socket cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// It cannot be opened.
    #[error("cannot listen on {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// systemd handed over something that cannot be used.
    #[error("a socket from systemd cannot be used")]
    Inherited {
        /// Why.
        source: std::io::Error,
    },
    /// systemd handed over a socket that the configuration does not name.
    #[error("systemd hands over a socket for {address}, which listen.https and listen.http do not name")]
    Unwanted {
        /// For where.
        address: SocketAddr,
    },
}

const BACKLOG: i32 = 4096;

/// Opens every listening socket of the configuration, or takes it from systemd: those are known by their address.
pub fn bind(listen: &config::Listen, hub_api: &config::HubApi) -> Result<Listeners, ListenError> {
    let mut inherited = inherited()?;
    let mut take = |address: &SocketAddr| {
        let same = |listener: &TcpListener| listener.local_addr().is_ok_and(|local| is_same(local, *address));
        match inherited.iter().position(same) {
            Some(at) => Ok(inherited.swap_remove(at)),
            None => open(*address, false),
        }
    };
    let listeners = Listeners {
        https: listen.https.iter().map(&mut take).collect::<Result<_, _>>()?,
        http: listen.http.iter().map(&mut take).collect::<Result<_, _>>()?,
        operations: listen.operations.as_ref().map(&mut take).transpose()?,
        // The containers' network may be made later than we start.
        hub_api: hub_api.listen.map(|address| open(address, true)).transpose()?,
    };
    match inherited.first() {
        Some(listener) => {
            let address = listener.local_addr().map_err(|source| ListenError::Inherited { source })?;
            Err(ListenError::Unwanted { address })
        }
        None => Ok(listeners),
    }
}

fn inherited() -> Result<Vec<TcpListener>, ListenError> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..sockets.len() {
        let listener = sockets.take_tcp_listener(at).map_err(|source| ListenError::Inherited { source })?;
        if let Some(listener) = listener {
            listener.set_nonblocking(true).map_err(|source| ListenError::Inherited { source })?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// systemd's `ListenStream=443` listens on `[::]:443` for both families.
fn is_same(inherited: SocketAddr, wanted: SocketAddr) -> bool {
    let anywhere = inherited.ip().is_unspecified() && wanted.ip().is_unspecified();
    inherited.port() == wanted.port()
        && (inherited.ip().to_canonical() == wanted.ip().to_canonical() || anywhere)
}

fn open(address: SocketAddr, free: bool) -> Result<TcpListener, ListenError> {
    let socket = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for the last connections of the process before.
        socket.set_reuse_address(true)?;
        if free {
            socket.set_freebind_v4(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    socket().map_err(|source| ListenError::Bind { address, source })
}

//! Listening sockets: bound here, or handed over by systemd.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::config;

/// Every listening socket, by what it is for.
#[derive(Debug, Default)]
pub struct Listeners {
    /// TLS.
    pub https: Vec<TcpListener>,
    /// Redirects.
    pub http: Vec<TcpListener>,
    /// Health and metrics.
    pub operations: Option<TcpListener>,
    /// For containers.
    pub hub_api: Option<TcpListener>,
}

/// Sockets that the service manager opened for us (`sd_listen_fds(3)`).
#[derive(Debug, Default)]
pub struct Inherited(Vec<(SocketAddr, TcpListener)>);

/// A listener cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The service manager handed over something that is no listening TCP socket.
    #[error("cannot use a socket from the service manager")]
    Inherited {
        /// Why.
        source: io::Error,
    },
    /// The service manager handed over what nobody asked for: it would accept, and never answer.
    #[error("the service manager listens on {addresses}, which the configuration does not name")]
    Left {
        /// Which.
        addresses: Addresses,
    },
}

/// Addresses, as people list them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(pub Vec<SocketAddr>);

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl ListenError {
    /// What an administrator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE or a socket from systemd"
            }
            Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                "stop the program that listens there: ss -ltnp shows it"
            }
            Self::Bind { .. } => "name an address that this machine has in the listen section",
            Self::Inherited { .. } => "give only ListenStream= addresses in the socket unit",
            Self::Left { .. } => {
                "name these addresses in the listen section, or take them out of the socket unit"
            }
        }
    }
}

impl Inherited {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the environment tells of. It tells once.
    pub fn from_environment() -> Result<Self, ListenError> {
        let mut given = ListenFd::from_env();
        let failed = |source| ListenError::Inherited { source };
        let mut sockets = Vec::new();
        for index in 0..given.len() {
            if let Some(socket) = given.take_tcp_listener(index).map_err(failed)? {
                socket.set_nonblocking(true).map_err(failed)?;
                sockets.push((socket.local_addr().map_err(failed)?, socket));
            }
        }
        Ok(Self(sockets))
    }

    fn take(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let same = self.0.iter().position(|(address, _)| *address == wanted);
        let covers = || self.0.iter().position(|(address, _)| covers(*address, wanted));
        same.or_else(covers).map(|index| self.0.swap_remove(index).1)
    }
}

/// `ListenStream=443` makes one socket for both families, which shows itself as `[::]:443`.
fn covers(given: SocketAddr, wanted: SocketAddr) -> bool {
    given.port() == wanted.port()
        && given.is_ipv6()
        && given.ip().is_unspecified()
        && wanted.ip().is_unspecified()
}

/// Opens every listener that is configured; those from the service manager serve where their address is named.
pub fn bind(
    listen: &config::Listen,
    hub_api: Option<SocketAddr>,
    mut inherited: Inherited,
) -> Result<Listeners, ListenError> {
    let mut open = |address: &SocketAddr| inherited.take(*address).map_or_else(|| own(*address, false), Ok);
    let mut sockets = Listeners {
        https: listen.https.iter().map(&mut open).collect::<Result<_, _>>()?,
        http: listen.http.iter().map(&mut open).collect::<Result<_, _>>()?,
        operations: listen.operations.iter().map(&mut open).next().transpose()?,
        hub_api: None,
    };
    if let Some(address) = hub_api {
        sockets.hub_api = Some(inherited.take(address).map_or_else(|| own(address, true), Ok)?);
    }
    if inherited.0.is_empty() {
        Ok(sockets)
    } else {
        let addresses = inherited.0.iter().map(|(address, _)| *address).collect();
        Err(ListenError::Left { addresses: Addresses(addresses) })
    }
}

/// A socket of our own. `early`: the address need not exist yet; the network of containers comes up later.
fn own(address: SocketAddr, early: bool) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        match address.ip() {
            IpAddr::V4(_) if early => socket.set_freebind_v4(true)?,
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => {
                // `0.0.0.0:443` and `[::]:443` may stand side by side.
                socket.set_only_v6(true)?;
                if early {
                    socket.set_freebind_v6(true)?;
                }
            }
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    open().map_err(|source| ListenError::Bind { address, source })
}

/// Connections that wait to be accepted; the kernel's `net.core.somaxconn` limits it further.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> (SocketAddr, TcpListener) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    fn listen(https: Vec<SocketAddr>) -> config::Listen {
        config::Listen { https, http: Vec::new(), operations: None, ..config::Listen::default() }
    }

    #[test]
    fn a_socket_from_the_service_manager_serves_its_address() {
        let (address, socket) = listening();
        let inherited = Inherited(vec![(address, socket)]);
        let sockets = bind(&listen(vec![address]), None, inherited).unwrap();
        assert_eq!(sockets.https[0].local_addr().unwrap(), address);
    }

    #[test]
    fn a_socket_that_nobody_asked_for_is_an_error_that_names_it() {
        let (address, socket) = listening();
        let error = bind(&listen(Vec::new()), None, Inherited(vec![(address, socket)])).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn a_socket_of_both_families_serves_any_address_of_its_port() {
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(covers(of("[::]:443"), of("0.0.0.0:443")));
        for (given, wanted) in [
            ("[::]:443", "0.0.0.0:80"),
            ("[::]:443", "127.0.0.1:443"),
            ("0.0.0.0:443", "[::]:443"),
            ("[::1]:443", "0.0.0.0:443"),
        ] {
            assert!(!covers(of(given), of(wanted)), "{given} {wanted}");
        }
    }

    #[test]
    fn an_address_in_use_is_an_error_with_a_remedy() {
        let (address, _socket) = listening();
        let error = bind(&listen(vec![address]), None, Inherited::none()).unwrap_err();
        assert!(error.remedy().contains("ss -ltnp"), "{error}");
    }

    #[test]
    fn the_hub_api_listens_on_an_address_that_comes_later() {
        // TEST-NET-1 (RFC 5737): no machine has it.
        let later = "192.0.2.1:0".parse().unwrap();
        assert!(bind(&listen(vec![later]), None, Inherited::none()).is_err());
        assert!(bind(&listen(Vec::new()), Some(later), Inherited::none()).unwrap().hub_api.is_some());
    }
}

//! Listening sockets: bound here, or handed over by systemd.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
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

impl Listeners {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &TcpListener> {
        let public = self.https.iter().chain(&self.http);
        public.chain(&self.operations).chain(&self.hub_api)
    }
}

/// Sockets that the service manager opened for us (`sd_listen_fds(3)`), or another process from which we take over.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(Local, TcpListener)>,
    taken: Vec<Local>,
    /// What nobody asks for is closed: whoever had it asked for it by an earlier configuration.
    spare: bool,
}

/// Where a socket listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Local {
    address: SocketAddr,
    /// IPv4 too, though the address is one of IPv6.
    both: bool,
}

/// What the service manager has for an address.
enum Found {
    Socket(TcpListener),
    /// A socket that was taken already serves it.
    Served,
    Nothing,
}

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
                sockets.push((Local::of(&socket).map_err(failed)?, socket));
            }
        }
        Ok(Self { sockets, taken: Vec::new(), spare: false })
    }

    /// What another process listened on.
    pub fn taken_over(sockets: Vec<TcpListener>) -> Result<Self, ListenError> {
        let local = |socket: TcpListener| {
            socket.set_nonblocking(true)?;
            Ok((Local::of(&socket)?, socket))
        };
        let sockets = sockets.into_iter().map(local).collect::<io::Result<_>>();
        let sockets = sockets.map_err(|source| ListenError::Inherited { source })?;
        Ok(Self { sockets, taken: Vec::new(), spare: true })
    }

    fn find(&mut self, wanted: SocketAddr) -> Found {
        let same = self.sockets.iter().position(|(local, _)| local.address == wanted);
        let serves = || self.sockets.iter().position(|(local, _)| local.serves(wanted));
        if let Some(index) = same.or_else(serves) {
            let (local, socket) = self.sockets.swap_remove(index);
            self.taken.push(local);
            return Found::Socket(socket);
        }
        if self.taken.iter().any(|local| local.both && local.serves(wanted)) {
            Found::Served
        } else {
            Found::Nothing
        }
    }
}

impl Local {
    fn of(socket: &TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let both = address.is_ipv6() && address.ip().is_unspecified() && !SockRef::from(socket).only_v6()?;
        Ok(Self { address, both })
    }

    /// `ListenStream=443` makes one socket for both families, which shows itself as `[::]:443`.
    fn serves(self, wanted: SocketAddr) -> bool {
        let anywhere = self.both && wanted.ip().is_unspecified();
        self.address.port() == wanted.port() && (self.address == wanted || anywhere)
    }
}

/// Opens every listener that is configured; those from the service manager serve where their address is named.
pub fn bind(
    listen: &config::Listen,
    hub_api: Option<SocketAddr>,
    mut inherited: Inherited,
) -> Result<Listeners, ListenError> {
    let mut open = |address: SocketAddr, early| match inherited.find(address) {
        Found::Socket(socket) => Some(Ok(socket)),
        Found::Served => None,
        Found::Nothing => Some(own(address, early)),
    };
    let sockets = Listeners {
        https: listen.https.iter().filter_map(|address| open(*address, false)).collect::<Result<_, _>>()?,
        http: listen.http.iter().filter_map(|address| open(*address, false)).collect::<Result<_, _>>()?,
        operations: listen.operations.and_then(|address| open(address, false)).transpose()?,
        hub_api: hub_api.and_then(|address| open(address, true)).transpose()?,
    };
    if inherited.sockets.is_empty() || inherited.spare {
        Ok(sockets)
    } else {
        let addresses = inherited.sockets.iter().map(|(local, _)| local.address).collect();
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

    fn listening(address: &str) -> (SocketAddr, TcpListener) {
        let socket = TcpListener::bind(address).unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    fn given(socket: TcpListener) -> Inherited {
        Inherited { sockets: vec![(Local::of(&socket).unwrap(), socket)], taken: Vec::new(), spare: false }
    }

    fn listen(https: &[SocketAddr]) -> config::Listen {
        config::Listen {
            https: https.to_vec(),
            http: Vec::new(),
            operations: None,
            ..config::Listen::default()
        }
    }

    #[test]
    fn a_socket_from_the_service_manager_serves_its_address() {
        let (address, socket) = listening("127.0.0.1:0");
        let sockets = bind(&listen(&[address]), None, given(socket)).unwrap();
        assert_eq!(sockets.https[0].local_addr().unwrap(), address);
    }

    #[test]
    fn a_socket_that_nobody_asked_for_is_an_error_that_names_it() {
        let (address, socket) = listening("127.0.0.1:0");
        let error = bind(&listen(&[]), None, given(socket)).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn what_another_process_listened_on_serves_its_address_and_is_closed_where_nobody_asks_for_it() {
        let ((kept, socket), (gone, spare)) = (listening("127.0.0.1:0"), listening("127.0.0.1:0"));
        let inherited = Inherited::taken_over(vec![spare, socket]).unwrap();
        let sockets = bind(&listen(&[kept]), None, inherited).unwrap();
        let addresses: Vec<_> = sockets.all().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(addresses, [kept]);
        assert!(std::net::TcpStream::connect(gone).is_err());
    }

    #[test]
    fn a_socket_of_both_families_serves_both_addresses() {
        let (address, socket) = listening("[::]:0");
        let any = SocketAddr::from(([0, 0, 0, 0], address.port()));
        for wanted in [&[any][..], &[address], &[any, address], &[address, any]] {
            let sockets = bind(&listen(wanted), None, given(socket.try_clone().unwrap())).unwrap();
            assert_eq!(sockets.https.len(), 1, "{wanted:?}");
        }
        let loopback = SocketAddr::from(([127, 0, 0, 1], address.port()));
        assert!(bind(&listen(&[loopback]), None, given(socket)).is_err());
    }

    #[test]
    fn a_socket_of_one_family_serves_that_one() {
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (address, wanted) in
            [("[::]:443", "0.0.0.0:443"), ("0.0.0.0:443", "[::]:443"), ("[::]:443", "[::]:80")]
        {
            assert!(!Local { address: of(address), both: false }.serves(of(wanted)), "{address} {wanted}");
        }
    }

    #[test]
    fn an_address_in_use_is_an_error_with_a_remedy() {
        let (address, _socket) = listening("127.0.0.1:0");
        let error = bind(&listen(&[address]), None, Inherited::none()).unwrap_err();
        assert!(error.remedy().contains("ss -ltnp"), "{error}");
    }

    #[test]
    fn the_hub_api_listens_on_an_address_that_comes_later() {
        // TEST-NET-1 (RFC 5737): no machine has it.
        let later = "192.0.2.1:0".parse().unwrap();
        assert!(bind(&listen(&[later]), None, Inherited::none()).is_err());
        assert!(bind(&listen(&[]), Some(later), Inherited::none()).unwrap().hub_api.is_some());
    }
}

//! Binding listeners.

use super::url::{Host, ListenUrl};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

/// How many times a free port is looked for that every address of a name has.
const FREE_PORT_TRIES: usize = 8;

/// Options of a listening socket. Accepted connections inherit the buffer sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindOptions {
    /// Lets several sockets listen on the same address (`SO_REUSEPORT`), so that each shard accepts its own connections.
    pub reuse_port: bool,
    /// `SO_SNDBUF` in bytes; the system's default if `None`. Linux doubles it and caps it by `net.core.wmem_max`.
    pub send_buffer_bytes: Option<usize>,
    /// `SO_RCVBUF` in bytes; the system's default if `None`. Linux doubles it and caps it by `net.core.rmem_max`.
    pub receive_buffer_bytes: Option<usize>,
    /// How many finished TCP handshakes may wait to be accepted. Linux caps it by `net.core.somaxconn`.
    pub backlog: u16,
}

impl Default for BindOptions {
    fn default() -> Self {
        Self { reuse_port: false, send_buffer_bytes: None, receive_buffer_bytes: None, backlog: 1024 }
    }
}

/// Listens on every address that the URL's host stands for; resolving a name blocks. The sockets do not block.
///
/// `[::]` also takes IPv4 connections where the system can. With port 0 and a name of several addresses, all get the
/// same port. Addresses of a name that this machine does not have (`localhost` without IPv6) are left out as long as one
/// remains: what is listened on is what is returned.
///
/// # Errors
/// The error's text names the URL, the address and the cause, and what can be done; its kind is the system's.
pub fn bind(url: &ListenUrl, options: &BindOptions) -> io::Result<Vec<TcpListener>> {
    let addresses = resolve(url)?;
    let mut last = None;
    for _ in 0..FREE_PORT_TRIES {
        match bind_all(url, &addresses, options) {
            // The port that was free for the first address is taken on another one: ask for a new one.
            Err(error) if url.port == 0 && error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            outcome => return outcome,
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrInUse)))
}

fn resolve(url: &ListenUrl) -> io::Result<Vec<SocketAddr>> {
    let name = match &url.host {
        Host::V4(address) => return Ok(vec![SocketAddr::new(IpAddr::V4(*address), url.port)]),
        Host::V6(address) => return Ok(vec![SocketAddr::new(IpAddr::V6(*address), url.port)]),
        Host::Name(name) => name,
    };
    let unresolved =
        |kind, why: String| io::Error::new(kind, format!("cannot listen on {url}: the name {name:?} has no address here: {why}"));
    let found = (name.as_str(), url.port).to_socket_addrs().map_err(|error| unresolved(error.kind(), error.to_string()))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(unresolved(io::ErrorKind::NotFound, "the resolver's answer is empty".to_owned()));
    }
    Ok(addresses)
}

fn bind_all(url: &ListenUrl, addresses: &[SocketAddr], options: &BindOptions) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(addresses.len());
    let mut missing = None;
    for address in addresses {
        let mut address = *address;
        if let (0, Some(first)) = (url.port, listeners.first()) {
            address.set_port(first.local_addr()?.port());
        }
        match listen(address, options) {
            Ok(listener) => listeners.push(listener),
            Err(error) if addresses.len() > 1 && is_not_of_this_machine(&error) => missing = Some((address, error)),
            Err(error) => return Err(explain(url, address, &error)),
        }
    }
    match missing {
        Some((address, error)) if listeners.is_empty() => Err(explain(url, address, &error)),
        _ => Ok(listeners),
    }
}

fn listen(address: SocketAddr, options: &BindOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Said outright, since the system's default differs between machines.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait for old connections to leave TIME_WAIT. It does not let two brokers share a port.
    socket.set_reuse_address(true)?;
    set_reuse_port(&socket, options.reuse_port)?;
    // Before `listen`, so that the window scale of accepted connections fits the buffer.
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
        set_unsent_max(&socket, bytes / 8)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    // Linux gives it to every accepted connection, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::from(options.backlog.min(i16::MAX as u16)))?;
    Ok(socket.into())
}

/// Bytes that the peer has no room for wait here, where a session's limits hold for them, and not in the kernel beyond so many. Linux
/// gives it to every accepted connection.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn set_unsent_max(socket: &Socket, bytes: usize) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(u32::try_from(bytes).unwrap_or(u32::MAX))
}

#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn set_unsent_max(_socket: &Socket, _bytes: usize) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn set_reuse_port(socket: &Socket, on: bool) -> io::Result<()> {
    if on { socket.set_reuse_port(true) } else { Ok(()) }
}

#[cfg(not(unix))]
fn set_reuse_port(_socket: &Socket, on: bool) -> io::Result<()> {
    if on { Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no SO_REUSEPORT")) } else { Ok(()) }
}

/// Whether the machine has no such address, or none of its family.
fn is_not_of_this_machine(error: &io::Error) -> bool {
    // EAFNOSUPPORT, for which std has no kind.
    const NO_SUCH_FAMILY: i32 = if cfg!(target_os = "linux") { 97 } else { 47 };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

fn explain(url: &ListenUrl, address: SocketAddr, error: &io::Error) -> io::Error {
    let cause = match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use: another program, or another listener of this broker, has it; \
             stop that one, choose another port, or use port 0 for any free one"
            .to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have the address; use one of its own, 127.0.0.1 for this machine only, or 0.0.0.0 for every interface"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied if address.port() != 0 && address.port() < 1024 => {
            "ports below 1024 need a privilege (on Linux CAP_NET_BIND_SERVICE); use a higher port, or give the broker the capability"
                .to_owned()
        }
        _ => error.to_string(),
    };
    let place = match &url.host {
        Host::Name(_) => format!("{url} ({address})"),
        Host::V4(_) | Host::V6(_) => url.to_string(),
    };
    io::Error::new(error.kind(), format!("cannot listen on {place}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn bound(url: &str, options: &BindOptions) -> io::Result<Vec<TcpListener>> {
        bind(&url.parse().unwrap(), options)
    }

    #[test]
    fn port_0_finds_a_free_port_and_the_socket_does_not_block() {
        let listeners = bound("mqtt://127.0.0.1:0", &BindOptions::default()).unwrap();
        let [listener] = &listeners[..] else { panic!("one address, one listener") };
        assert_ne!(listener.local_addr().unwrap().port(), 0);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_address_in_use_is_named_with_what_to_do() {
        let first = bound("mqtt://127.0.0.1:0", &BindOptions::default()).unwrap();
        let port = first[0].local_addr().unwrap().port();
        let error = bound(&format!("ws://127.0.0.1:{port}"), &BindOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on ws://127.0.0.1:{port}/mqtt: the address is in use")), "{text}");
        assert!(text.contains("choose another port"), "{text}");
    }

    #[test]
    fn shards_share_a_port_when_asked_to() {
        let options = BindOptions { reuse_port: true, ..BindOptions::default() };
        let first = bound("mqtt://127.0.0.1:0", &options).unwrap();
        let port = first[0].local_addr().unwrap().port();
        let second = bound(&format!("mqtt://127.0.0.1:{port}"), &options).unwrap();
        assert_eq!(second[0].local_addr().unwrap(), first[0].local_addr().unwrap());
    }

    #[test]
    fn all_addresses_of_a_name_get_one_port() {
        let listeners = bound("mqtt://localhost:0", &BindOptions::default()).unwrap();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{addresses:?}");
        assert_eq!(addresses.iter().map(SocketAddr::port).collect::<HashSet<_>>().len(), 1, "{addresses:?}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused_by_name() {
        // TEST-NET-1 of RFC 5737: no machine's address.
        let error = bound("mqtt://192.0.2.1:0", &BindOptions::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.to_string().contains("192.0.2.1:0: this machine does not have the address"), "{error}");
    }

    #[test]
    fn buffer_sizes_reach_the_socket() {
        let options = BindOptions { send_buffer_bytes: Some(32 * 1024), receive_buffer_bytes: Some(48 * 1024), ..BindOptions::default() };
        let listeners = bound("mqtt://127.0.0.1:0", &options).unwrap();
        let socket = socket2::SockRef::from(&listeners[0]);
        assert!((32 * 1024..=64 * 1024).contains(&socket.send_buffer_size().unwrap()));
        assert!((48 * 1024..=96 * 1024).contains(&socket.recv_buffer_size().unwrap()));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn of_what_a_peer_does_not_read_an_accepted_connection_takes_little() {
        use std::io::{ErrorKind, Write};
        let options = BindOptions { send_buffer_bytes: Some(64 * 1024), ..BindOptions::default() };
        let listeners = bound("mqtt://127.0.0.1:0", &options).unwrap();
        listeners[0].set_nonblocking(false).unwrap();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        client.connect(&listeners[0].local_addr().unwrap().into()).unwrap();
        let mut accepted = listeners[0].accept().unwrap().0;
        accepted.set_nonblocking(true).unwrap();
        let mut taken = 0;
        loop {
            match accepted.write(&[0; 512]) {
                Ok(len) => taken += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!((8 * 1024..32 * 1024).contains(&taken), "{taken}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn accepted_connections_send_without_delay() {
        let listeners = bound("mqtt://127.0.0.1:0", &BindOptions::default()).unwrap();
        listeners[0].set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap();
        assert!(listeners[0].accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn causes_are_put_into_words() {
        let url: ListenUrl = "mqtt://localhost:80".parse().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let text = explain(&url, address, &io::Error::from(io::ErrorKind::PermissionDenied)).to_string();
        assert!(text.starts_with("cannot listen on mqtt://localhost:80 (127.0.0.1:80): ports below 1024 need a privilege"), "{text}");
    }
}

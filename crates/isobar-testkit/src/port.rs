//! Which port is nobody's but ours, listening or not?

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A loopback port on which nobody listens, held for as long as this lives: connections to it are refused.
///
/// The socket is bound but does not listen. The kernel gives the port to no one who asks for any port, but lets a
/// program that sets `SO_REUSEADDR` listen on it, so a server can come and go at one address.
#[derive(Debug)]
pub struct ClosedPort {
    _bound: Socket,
    address: SocketAddr,
}

impl ClosedPort {
    /// Takes a port from the kernel.
    pub fn reserve() -> io::Result<Self> {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        bound.set_reuse_address(true)?;
        bound.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let address = bound.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { _bound: bound, address })
    }

    /// Where the port is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on the port until the listener is dropped.
    pub fn listen(&self) -> io::Result<TcpListener> {
        TcpListener::bind(self.address)
    }
}

/// A loopback port that swallows connections: attempts are neither taken nor refused, as with a host that is not there.
///
/// A listener whose queue is full lets the kernel drop every further attempt.
#[derive(Debug)]
pub struct FullPort {
    _listener: Socket,
    _queued: Vec<TcpStream>,
    address: SocketAddr,
}

impl FullPort {
    /// Listens with the shortest queue and fills it.
    pub fn new() -> io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(0)?;
        let address = listener
            .local_addr()?
            .as_socket()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queued.push(stream);
        }
        Ok(Self {
            _listener: listener,
            _queued: queued,
            address,
        })
    }

    /// Where the port is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::ClosedPort;
    use std::net::TcpStream;

    #[test]
    fn a_closed_port_refuses_until_somebody_listens() {
        let port = ClosedPort::reserve().unwrap();
        for _ in 0..3 {
            assert!(TcpStream::connect(port.address()).is_err());
            let listener = port.listen().unwrap();
            TcpStream::connect(port.address()).unwrap();
            drop(listener);
        }
    }
}

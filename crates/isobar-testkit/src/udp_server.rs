//! What is a server that answers datagrams?

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// A server of UDP; nobody is there once it is dropped.
#[derive(Debug)]
pub struct UdpServer {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_gone: bool,
    received: Vec<Vec<u8>>,
    from: HashSet<SocketAddr>,
}

/// A loopback port from which nobody answers: what is sent there is refused (ICMP).
#[derive(Debug)]
pub struct ClosedUdpPort {
    /// Connected to somebody else, so that the port is taken and nothing is for it.
    _socket: UdpSocket,
    address: SocketAddr,
}

impl UdpServer {
    /// Starts one that sends its name and then what it was sent, in one datagram.
    #[must_use]
    #[track_caller]
    pub fn echo(name: &'static str) -> Self {
        Self::start(move |datagram| vec![[name.as_bytes(), datagram].concat()])
    }

    /// Starts one that sends these datagrams for one that it gets.
    #[must_use]
    #[track_caller]
    pub fn start(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::speaking(each(answer))
    }

    /// Starts one that does this with a datagram: it is given the socket, who sent the datagram, and what it says.
    #[must_use]
    #[track_caller]
    pub fn speaking(act: impl FnMut(&UdpSocket, SocketAddr, &[u8]) + Send + 'static) -> Self {
        Self::on(UdpSocket::bind("127.0.0.1:0").expect("a port"), act)
    }

    /// Starts one at a port on which nobody was.
    #[must_use]
    #[track_caller]
    pub fn at(port: &ClosedUdpPort, answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::on(bound(port.address).expect("the port"), each(answer))
    }

    fn on(socket: UdpSocket, mut act: impl FnMut(&UdpSocket, SocketAddr, &[u8]) + Send + 'static) -> Self {
        let address = socket.local_addr().expect("an address");
        socket.set_read_timeout(Some(LOOK)).expect("a timeout");
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while !lock(&of_thread).is_gone {
                let Ok((count, from)) = socket.recv_from(&mut datagram) else {
                    continue;
                };
                let datagram = datagram.get(..count).unwrap_or_default();
                let mut shared = lock(&of_thread);
                shared.received.push(datagram.to_vec());
                shared.from.insert(from);
                drop(shared);
                act(&socket, from, datagram);
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The datagrams it got.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<u8>> {
        lock(&self.shared).received.clone()
    }

    /// From how many addresses and ports they came.
    #[must_use]
    pub fn sources(&self) -> usize {
        lock(&self.shared).from.len()
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        lock(&self.shared).is_gone = true;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl ClosedUdpPort {
    /// Takes a port from the kernel.
    pub fn reserve() -> io::Result<Self> {
        let socket = bound(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        socket.connect("127.0.0.1:9")?;
        let address = socket.local_addr()?;
        Ok(Self {
            _socket: socket,
            address,
        })
    }

    /// Where nobody is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Sends whoever sent a datagram what it is answered with.
fn each(answer: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> impl FnMut(&UdpSocket, SocketAddr, &[u8]) {
    move |socket, from, datagram| {
        for answer in answer(datagram) {
            // Whether it arrives is the client's to see.
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn bound(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

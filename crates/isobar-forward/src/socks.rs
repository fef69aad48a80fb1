//! How does a client of SOCKS 5 get its tunnel?

use std::io::ErrorKind;
use std::net::SocketAddr;

use isobar_observe::Cause;
use isobar_route::destination::DestinationHost;
use isobar_wire::socks5::{Authentication, Reply, Socks5, Socks5Error, Step, Target};

use crate::Worker;
use crate::connection::Client;
use crate::reach::{Purpose, Wish, reach};
use crate::record;
use crate::tunnel::{Early, Tunnel};
use crate::users::Claim;

/// A client on its way to a tunnel.
struct Talk {
    machine: Socks5,
    /// What it sent and nobody has read.
    came: Vec<u8>,
    /// What it is to be told.
    answer: Vec<u8>,
}

/// What a message asks for.
enum Wanted {
    More,
    Next,
    Login(Option<Claim>),
    Go(Wish),
}

/// Serves a client until it has its tunnel; none: the connection is over.
pub(crate) async fn run(worker: &Worker, client: &mut Client, came: Vec<u8>) -> Option<Box<Tunnel>> {
    client.report.protocol = "SOCKS5";
    client
        .timer
        .set(client.report.began + client.site.listener.timeouts.handshake);
    let authentication = match client.site.listener.users {
        Some(_) => Authentication::Password,
        None => Authentication::None,
    };
    let mut talk = Talk {
        machine: Socks5::new(authentication),
        came,
        answer: Vec::new(),
    };
    match talk.open(worker, client).await {
        Ok(tunnel) => Some(tunnel),
        Err(cause) => {
            if !talk.answer.is_empty() && client.send(worker, &talk.answer).await.is_ok() {
                client.linger(worker).await;
            }
            record::finish(worker, client, cause);
            None
        }
    }
}

impl Talk {
    async fn open(&mut self, worker: &Worker, client: &mut Client) -> Result<Box<Tunnel>, Cause> {
        loop {
            match self.step().map_err(|error| refused(client, error))? {
                Wanted::Next => self.tell(worker, client).await?,
                Wanted::More => {
                    self.tell(worker, client).await?;
                    client
                        .timer
                        .set(client.report.began + client.site.listener.timeouts.handshake);
                    let more = client.more(worker, &mut self.came, Cause::SocksMalformed).await;
                    more.map_err(|cause| match cause {
                        Cause::SocksMalformed => client.report.explain("the handshake was not complete in time", cause),
                        cause => cause,
                    })?;
                }
                Wanted::Login(claim) => match client.login(worker, claim).await {
                    Ok(()) => self.machine.authenticated(&mut self.answer),
                    Err(cause) => {
                        self.machine.denied(&mut self.answer);
                        return Err(cause);
                    }
                },
                Wanted::Go(wish) => return self.go(worker, client, &wish).await,
            }
        }
    }

    /// Reads one message.
    fn step(&mut self) -> Result<Wanted, Socks5Error> {
        let (count, step) = self.machine.handle(&self.came, &mut self.answer)?;
        let wanted = match step {
            Step::Partial => Wanted::More,
            Step::Greeted => Wanted::Next,
            Step::Credentials { username, password } => Wanted::Login(Claim::new(username, password)),
            Step::Connect(Target::Address(address)) => Wanted::Go(Wish {
                host: DestinationHost::from(address.ip()),
                port: address.port(),
            }),
            Step::Connect(Target::Name { host, port }) => match DestinationHost::parse(host.as_bytes()) {
                Ok(host) => Wanted::Go(Wish { host, port }),
                Err(_) => {
                    self.machine.reply(Reply::GeneralFailure, &mut self.answer);
                    return Err(Socks5Error::BadName);
                }
            },
        };
        self.came.drain(..count);
        Ok(wanted)
    }

    async fn go(&mut self, worker: &Worker, client: &mut Client, wish: &Wish) -> Result<Box<Tunnel>, Cause> {
        let reached = match client.count(worker) {
            Ok(()) => reach(worker, client, wish, Purpose::Tunnel).await,
            Err(cause) => Err(cause),
        };
        let reached = match reached {
            Ok(reached) => reached,
            Err(cause) => {
                if client.report.host.is_empty() {
                    client.report.host = wish.authority().into();
                }
                self.machine.reply(reply(cause, client.report.error), &mut self.answer);
                return Err(cause);
            }
        };
        let bound = reached.stream.local_addr();
        let bound = bound.unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        self.machine.reply(Reply::Succeeded(bound), &mut self.answer);
        self.answer.extend_from_slice(&reached.early);
        let early = Early {
            to_server: std::mem::take(&mut self.came),
            to_client: std::mem::take(&mut self.answer),
        };
        Ok(Tunnel::new(worker, client, reached.stream, early))
    }

    async fn tell(&mut self, worker: &Worker, client: &mut Client) -> Result<(), Cause> {
        let answer = std::mem::take(&mut self.answer);
        client.send(worker, &answer).await
    }
}

fn refused(client: &mut Client, error: Socks5Error) -> Cause {
    client.report.explain(error, Cause::SocksMalformed)
}

/// What a client is told of a failure. RFC 1928 section 6.
fn reply(cause: Cause, error: Option<ErrorKind>) -> Reply {
    match (cause, error) {
        (Cause::ForwardDenied | Cause::ForwardUserLimit, _) => Reply::NotAllowed,
        (Cause::LookupFailed, _) => Reply::HostUnreachable,
        (Cause::LookupTimeout | Cause::ConnectTimeout, _) => Reply::TtlExpired,
        (Cause::ConnectFailed, Some(ErrorKind::ConnectionRefused)) => Reply::ConnectionRefused,
        (Cause::ConnectFailed, Some(ErrorKind::NetworkUnreachable)) => Reply::NetworkUnreachable,
        (Cause::ConnectFailed, _) => Reply::HostUnreachable,
        _ => Reply::GeneralFailure,
    }
}

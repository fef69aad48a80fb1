//! How does one request after another of a client of HTTP get to where it wants to go?
//!
//! One connection to a destination is kept for the next request of the same client to the same destination, and for nobody else:
//! what a server thinks of a connection is never somebody else's.

use std::net::SocketAddr;
use std::sync::Arc;

use isobar_net::stream::Stream;
use isobar_observe::Cause;
use isobar_plan::ParentProtocol;
use isobar_route::destination::DestinationHost;
use isobar_wire::{Authority, BodyKind, HeadLimits, Known, Method, Parsed, RequestHead, TargetForm, Version, write};

use crate::answer::{self, Reader};
use crate::compose::{self, IsForParent, Sent};
use crate::connection::Client;
use crate::exchange::{Done, Exchange, Failed};
use crate::reach::{self, Purpose, Wish};
use crate::record::{self, Report};
use crate::tunnel::{Early, Tunnel};
use crate::users::Claim;
use crate::{Site, Worker, pac};

/// The requests of a connection.
struct Requests {
    /// What was read and not used yet; at the front the head that is served.
    inbound: Vec<u8>,
    head: RequestHead,
    /// Whether the head is read.
    has_head: bool,
    /// Whether it stands at the front of what was read.
    is_at_front: bool,
    is_browser: bool,
    kept: Option<Kept>,
}

/// A connection that has carried a request, and may carry another one.
struct Kept {
    stream: Stream,
    wish: Wish,
    address: SocketAddr,
    /// By which rules it was made.
    site: Arc<Site>,
    /// For whom: servers may know their clients by the connection.
    user: Option<Arc<str>>,
}

/// What comes after a request.
enum Next {
    Again,
    Linger,
    Close,
    Tunnel(Box<Tunnel>),
}

/// Serves a client until it has a tunnel; none: the connection is over.
pub(crate) async fn run(worker: &Worker, client: &mut Client, came: Vec<u8>) -> Option<Box<Tunnel>> {
    let mut requests = Requests {
        inbound: came,
        head: RequestHead::new(),
        has_head: false,
        is_at_front: false,
        is_browser: false,
        kept: None,
    };
    loop {
        client.report = Report::begin(worker.shared.wheel.now());
        client.report.protocol = "HTTP/1.1";
        client.catches_up();
        match requests.one(worker, client).await {
            Next::Again if !requests.inbound.is_empty() => {}
            Next::Again => requests.inbound = client.bytes(worker, client.site.listener.timeouts.idle).await?,
            Next::Tunnel(tunnel) => return Some(tunnel),
            Next::Linger => {
                client.linger(worker).await;
                return None;
            }
            Next::Close => return None,
        }
    }
}

impl Requests {
    async fn one(&mut self, worker: &Worker, client: &mut Client) -> Next {
        self.has_head = false;
        self.is_at_front = true;
        match self.serve(worker, client).await {
            Ok(Next::Tunnel(tunnel)) => Next::Tunnel(tunnel),
            Ok(next) => {
                record::finish(worker, client, Cause::Complete);
                next
            }
            Err(cause) => {
                let next = self.refuse(worker, client, cause).await;
                record::finish(worker, client, cause);
                next
            }
        }
    }

    async fn serve(&mut self, worker: &Worker, client: &mut Client) -> Result<Next, Cause> {
        self.read_head(worker, client).await?;
        client.refresh(worker);
        self.note(client);
        match self.head.form {
            TargetForm::Origin => return self.here(worker, client).await,
            TargetForm::Asterisk => {
                let why = "this is a proxy, and the request says nothing of where to go";
                return Err(client.report.explain(why, Cause::ForwardTarget));
            }
            TargetForm::Absolute | TargetForm::Authority => {}
        }
        client.login(worker, self.claim()).await?;
        let wish = self.wish(client)?;
        client.report.host = wish.authority().into();
        client.count(worker)?;
        match self.head.form {
            TargetForm::Authority => self.connect(worker, client, &wish).await,
            _ => self.forward(worker, client, wish).await,
        }
    }

    /// Reads until the head is whole.
    async fn read_head(&mut self, worker: &Worker, client: &mut Client) -> Result<(), Cause> {
        let limits = client.site.listener.limits;
        let limits = HeadLimits {
            max_bytes: limits.max_head_bytes as usize,
            max_fields: limits.max_headers.into(),
        };
        client
            .timer
            .set(worker.shared.wheel.now() + client.site.listener.timeouts.head);
        loop {
            match self.head.parse(&self.inbound, limits) {
                Ok(Parsed::Complete) => {
                    self.has_head = true;
                    return Ok(());
                }
                Ok(Parsed::Partial) => client.more(worker, &mut self.inbound, Cause::ClientHeadTimeout).await?,
                Err(error) => return Err(client.report.explain(error, compose::cause_of(error))),
            }
        }
    }

    /// Takes note of what is asked.
    fn note(&mut self, client: &mut Client) {
        let (head, bytes) = (&self.head, &self.inbound);
        let report = &mut client.report;
        report.protocol = match head.version {
            Version::Http10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        report.method = head.method_name.of(bytes).into();
        report.target = head.path.of(bytes).into();
        let accepts = |value: &[u8]| value.windows(9).any(|window| window.eq_ignore_ascii_case(b"text/html"));
        self.is_browser = self.named(b"accept").is_some_and(accepts);
    }

    fn named(&self, name: &[u8]) -> Option<&[u8]> {
        let is_it = |field: &&isobar_wire::Field| field.name.of(&self.inbound).eq_ignore_ascii_case(name);
        let fields = self.head.fields.iter().filter(|field| field.known == Known::Other);
        fields.clone().find(is_it).map(|field| field.value.of(&self.inbound))
    }

    fn claim(&self) -> Option<Claim> {
        self.named(b"proxy-authorization").and_then(Claim::of_field)
    }

    fn wish(&self, client: &mut Client) -> Result<Wish, Cause> {
        let is_secured = |target: &[u8]| {
            target
                .first_chunk()
                .is_some_and(|c: &[u8; 6]| c.eq_ignore_ascii_case(b"https:"))
        };
        if self.head.form == TargetForm::Absolute && is_secured(self.head.target.of(&self.inbound)) {
            let why = "what is at https:// is reached with CONNECT, so that the client itself can see whom it talks to";
            return Err(client.report.explain(why, Cause::ForwardTarget));
        }
        let written = self.head.authority.of(&self.inbound);
        let wish = Authority::parse(written).and_then(|Authority { host, port }| {
            Some(Wish {
                host: DestinationHost::parse(host).ok()?,
                port: port.unwrap_or(80),
            })
        });
        wish.ok_or_else(|| {
            client.report.host = String::from_utf8_lossy(written).into();
            let why = "the host is neither an address in its usual spelling nor a host name";
            client.report.explain(why, Cause::ForwardTarget)
        })
    }

    /// Answers a request that is for the proxy itself.
    async fn here(&mut self, worker: &Worker, client: &mut Client) -> Result<Next, Cause> {
        let site = Arc::clone(&client.site);
        let path = self.head.path.of(&self.inbound);
        let is_pac = site
            .listener
            .pac
            .as_ref()
            .is_some_and(|pac| pac.path.as_bytes() == path);
        let is_read = matches!(self.head.method, Method::Get | Method::Head) && self.head.body == BodyKind::None;
        if !is_pac || !is_read {
            let why = "this is a proxy: tell your browser or program of it, rather than going here";
            return Err(client.report.explain(why, Cause::NoRoute));
        }
        let reader = self.reader(client, worker, Cause::Complete);
        let mut out = Vec::new();
        let text = pac::script(&site.listener, client.stream.local_addr().ok());
        client.report.bytes_out = answer::script(&mut out, &reader, &text);
        client.report.status = 200;
        let next = if reader.stays { Next::Again } else { Next::Linger };
        client.send(worker, &out).await?;
        self.pass_head();
        Ok(next)
    }

    async fn connect(&mut self, worker: &Worker, client: &mut Client, wish: &Wish) -> Result<Next, Cause> {
        // What stands behind the head is for the destination, whatever the head says of a body.
        self.kept = None;
        let reached = reach::reach(worker, client, wish, Purpose::Tunnel).await?;
        let mut to_client = Vec::new();
        write::status_line(&mut to_client, Version::Http11, 200, b"Connection established");
        write::end(&mut to_client);
        to_client.extend_from_slice(&reached.early);
        client.report.status = 200;
        let early = Early {
            to_server: self.inbound.split_off(self.head.len),
            to_client,
        };
        Ok(Next::Tunnel(Tunnel::new(worker, client, reached.stream, early)))
    }

    /// Sends a request on, and its answer back.
    async fn forward(&mut self, worker: &Worker, client: &mut Client, wish: Wish) -> Result<Next, Cause> {
        let parent = client.site.listener.parent.as_ref().map(|parent| parent.protocol);
        let is_for_parent = match parent {
            Some(ParentProtocol::Http) => IsForParent::Yes,
            _ => IsForParent::No,
        };
        let site = Arc::clone(&client.site);
        let mut head = Vec::new();
        let sent = Sent {
            listener: &site.listener,
            request: &self.head,
            head: &self.inbound,
            client: client.peer.ip(),
        };
        compose::request(&mut head, &sent, is_for_parent);
        self.pass_head();
        if let Some(mut kept) = self.reuse(client, &wish, is_for_parent)? {
            let carried = self.carry(worker, client, (&mut kept, &head), is_for_parent).await;
            // It had ended before it took the request, so nothing was done about it.
            let may_repeat = self.head.body == BodyKind::None && is_idempotent(self.head.method);
            if !matches!(carried, Err(Cause::ServerClosed)) || client.report.status > 0 || !may_repeat {
                return self.carried(kept, worker, client, carried);
            }
        }
        let reached = reach::reach(worker, client, &wish, Purpose::Requests).await?;
        let Some(address) = client.report.address else {
            return Err(Cause::Internal);
        };
        let mut kept = Kept {
            stream: reached.stream,
            wish,
            address,
            site,
            user: client.report.user.clone(),
        };
        let carried = self.carry(worker, client, (&mut kept, &head), is_for_parent).await;
        self.carried(kept, worker, client, carried)
    }

    /// The connection that was kept, where it is of use and the rules still let it be.
    fn reuse(&mut self, client: &mut Client, wish: &Wish, is_for_parent: IsForParent) -> Result<Option<Kept>, Cause> {
        let Some(kept) = self.kept.take() else { return Ok(None) };
        let leads_there = is_for_parent == IsForParent::Yes || kept.wish == *wish;
        // Under other rules it may have led somewhere else, such as to a parent.
        let is_same = Arc::ptr_eq(&kept.site, &client.site) && kept.user == client.report.user;
        if !leads_there || !is_same || !kept.stream.is_silent() {
            return Ok(None);
        }
        reach::may_reuse(client, wish, kept.address)?;
        Ok(Some(kept))
    }

    async fn carry(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        (kept, head): (&mut Kept, &[u8]),
        is_for_parent: IsForParent,
    ) -> Result<Done, Cause> {
        let exchange = Exchange::new(client, &mut kept.stream, (&self.head, &mut self.inbound), head);
        let carried = exchange.run(worker, is_for_parent).await;
        carried.map_err(|Failed { cause, is_cut }| {
            if is_cut {
                // Only a reset tells this client that the end is not the end.
                let _ = client.stream.reset_on_close();
            }
            cause
        })
    }

    fn carried(
        &mut self,
        kept: Kept,
        worker: &Worker,
        client: &mut Client,
        carried: Result<Done, Cause>,
    ) -> Result<Next, Cause> {
        match carried? {
            Done::Switched(mut early) => {
                early.to_server.append(&mut self.inbound);
                Ok(Next::Tunnel(Tunnel::new(worker, client, kept.stream, early)))
            }
            Done::Answered {
                client_keeps,
                server_keeps,
            } => {
                self.kept = (server_keeps && client_keeps).then_some(kept);
                Ok(match client_keeps {
                    true if client.may_stay(worker) => Next::Again,
                    _ => Next::Linger,
                })
            }
        }
    }

    fn reader(&self, client: &Client, worker: &Worker, cause: Cause) -> Reader<'_> {
        let is_over = self.has_head && matches!(self.head.body, BodyKind::None | BodyKind::Length(0));
        // Behind CONNECT there may be bytes that are for the destination.
        let is_clear = self.head.form != TargetForm::Authority || self.inbound.len() <= self.head.len;
        let stays =
            is_over && is_clear && answer::is_understood(cause) && self.head.keep_alive && client.may_stay(worker);
        Reader {
            request: &self.head,
            is_browser: self.is_browser && self.has_head,
            stays,
        }
    }

    /// Tells the client why it got nothing, where it can still be told.
    async fn refuse(&mut self, worker: &Worker, client: &mut Client, cause: Cause) -> Next {
        if client.report.status > 0 || cause.status().is_none() {
            return Next::Close;
        }
        let reader = self.reader(client, worker, cause);
        let mut out = Vec::new();
        let bytes = answer::refusal(&mut out, &reader, (&client.site.listener, &client.report), cause);
        let stays = reader.stays;
        client.report.status = cause.status().unwrap_or(500);
        client.report.bytes_out = bytes;
        if client.send(worker, &out).await.is_err() {
            return Next::Close;
        }
        if !stays {
            return Next::Linger;
        }
        self.pass_head();
        Next::Again
    }

    /// Leaves the head behind, once.
    fn pass_head(&mut self) {
        if std::mem::take(&mut self.is_at_front) {
            self.inbound.drain(..self.head.len.min(self.inbound.len()));
        }
    }
}

/// Whether sending it twice does what sending it once does. RFC 9110 section 9.2.2.
fn is_idempotent(method: Method) -> bool {
    matches!(method, Method::Get | Method::Head | Method::Options)
}

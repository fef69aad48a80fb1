//! Visitors: each asks, reads the answer, thinks, and asks again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::servers::{NAME_FIELD, SERVERS};
use super::statistics::{Outcome, Statistics, Visit};

/// The field in which a visitor says which one it is.
pub(super) const VISITOR_FIELD: &str = "x-visitor";
/// How many visitors there are.
pub(super) const VISITORS: usize = 40;
/// How long one thinks on average: together they ask about 200 times a second.
const THINKING: Duration = Duration::from_millis(170);
/// The pause after a failure, so that a gone server meets no storm.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) type Connection = SendRequest<Empty<Bytes>>;

/// Sends the visitors to an address. They leave when the result is dropped.
pub(super) fn start(address: SocketAddr, statistics: &Arc<Statistics>) -> JoinSet<()> {
    let mut visitors = JoinSet::new();
    for number in 0..VISITORS {
        visitors.spawn(visit(address, number, Arc::clone(statistics)));
    }
    visitors
}

/// What came of asking once.
struct Asked {
    /// For the next time.
    connection: Connection,
    /// Which server answered.
    server: usize,
    outcome: Outcome,
}

async fn visit(address: SocketAddr, number: usize, statistics: Arc<Statistics>) {
    let mut connection = None;
    loop {
        tokio::time::sleep(THINKING.mul_f64(chance() * 2.0)).await;
        let before = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, ask(address, number, connection.take())).await;
        let Ok(Some(asked)) = asked else {
            statistics.add_failure();
            tokio::time::sleep(AFTER_FAILURE).await;
            continue;
        };
        connection = Some(asked.connection);
        statistics.add(Visit {
            server: asked.server,
            took: before.elapsed(),
            outcome: asked.outcome,
        });
        if asked.outcome == Outcome::Failed {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

/// Asks once; none: no server answered.
async fn ask(address: SocketAddr, number: usize, kept: Option<Connection>) -> Option<Asked> {
    let mut connection = match kept.filter(Connection::is_ready) {
        Some(connection) => connection,
        None => connect(address).await?,
    };
    let request = Request::get("/")
        .header(header::HOST, address.to_string())
        .header(VISITOR_FIELD, number)
        .body(Empty::new())
        .ok()?;
    let response = connection.send_request(request).await.ok()?;
    let outcome = if response.status().is_success() {
        Outcome::Answered
    } else {
        Outcome::Failed
    };
    let name = response.headers().get(NAME_FIELD)?.to_str().ok()?.to_owned();
    response.into_body().collect().await.ok()?;
    let server = SERVERS.iter().position(|server| server.name == name)?;
    Some(Asked {
        connection,
        server,
        outcome,
    })
}

pub(super) async fn connect(address: SocketAddr) -> Option<Connection> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, driver) = handshake(TokioIo::new(stream)).await.ok()?;
    // Ends with the sender.
    tokio::spawn(driver);
    Some(sender)
}

/// A number from 0 to 1, by chance. The demonstration wants variety, not quality.
pub(super) fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    thread_local! {
        static STATE: std::cell::Cell<u64> = std::cell::Cell::new(RandomState::new().hash_one(0) | 1);
    }
    // Xorshift (Marsaglia 2003), 64 bits, shifts 13, 7, 17.
    let mut state = STATE.get();
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.set(state);
    (state >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn chance_is_spread_over_its_range() {
        let mean = (0..10_000)
            .map(|_| super::chance())
            .inspect(|c| assert!((0.0..1.0).contains(c)))
            .sum::<f64>()
            / 1e4;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}

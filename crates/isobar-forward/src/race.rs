//! Which of several addresses answers first?
//!
//! Each is tried a moment after the one before it, or at once where that failed, so that an address which does not answer costs no more
//! than that moment; the families take turns. *Source*: RFC 8305 sections 4 and 5. Whether an address may be connected to has been decided.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Addresses of one destination that are tried at most.
const MAX_TRIES: usize = 4;

/// How long an address has before the next one is tried beside it. *Source*: RFC 8305 section 8.
const HEAD_START: Duration = Duration::from_millis(250);

/// What came of trying addresses.
#[derive(Debug)]
pub(crate) struct Tried<S> {
    /// The first connection, or why the last one failed.
    pub(crate) outcome: io::Result<S>,
    /// Whose that is.
    pub(crate) address: Option<SocketAddr>,
    /// Addresses that were tried.
    pub(crate) attempts: u8,
}

/// Connects to the address that answers first, all within one deadline.
pub(crate) async fn run<S, F>(addresses: &[SocketAddr], until: Instant, connect: impl Fn(SocketAddr) -> F) -> Tried<S>
where
    F: Future<Output = io::Result<S>>,
{
    let order = in_turns(addresses);
    let mut waiting = order.iter().copied();
    let mut under_way: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut tried = Tried {
        outcome: Err(io::ErrorKind::NotFound.into()),
        address: None,
        attempts: 0,
    };
    let mut head_start = pin!(tokio::time::sleep(Duration::ZERO));
    let mut deadline = pin!(tokio::time::sleep_until(until.into()));
    poll_fn(|cx| {
        loop {
            under_way.retain_mut(|(address, connecting)| {
                if tried.outcome.is_ok() {
                    return false;
                }
                let Poll::Ready(outcome) = connecting.as_mut().poll(cx) else {
                    return true;
                };
                (tried.outcome, tried.address) = (outcome, Some(*address));
                false
            });
            if tried.outcome.is_ok() {
                return Poll::Ready(());
            }
            let goes_on = under_way.is_empty() || head_start.as_mut().poll(cx).is_ready();
            match goes_on.then(|| waiting.next()).flatten() {
                Some(address) => {
                    tried.attempts += 1;
                    under_way.push((address, Box::pin(connect(address))));
                    head_start.as_mut().reset(tokio::time::Instant::now() + HEAD_START);
                }
                None if under_way.is_empty() => return Poll::Ready(()),
                None => break,
            }
        }
        deadline.as_mut().poll(cx)
    })
    .await;
    if tried.outcome.is_err()
        && let Some((address, _)) = under_way.last()
    {
        // Time was up for these, whatever became of the others.
        (tried.outcome, tried.address) = (Err(io::ErrorKind::TimedOut.into()), Some(*address));
    }
    tried
}

/// The addresses that are tried, those of both families in turns, beginning with the first.
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let begins = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (Vec<_>, Vec<_>) = addresses
        .iter()
        .copied()
        .partition(|address: &SocketAddr| address.is_ipv6() == begins);
    one.reverse();
    other.reverse();
    let mut order = Vec::with_capacity(MAX_TRIES);
    while order.len() < MAX_TRIES && (!one.is_empty() || !other.is_empty()) {
        order.extend(one.pop());
        order.extend(other.pop());
    }
    order.truncate(MAX_TRIES);
    order
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn families_take_turns() {
        let check = |addresses: &[&str], expected: &[&str]| {
            let addresses: Vec<_> = addresses
                .iter()
                .map(|address| format!("{address}:1").parse().unwrap())
                .collect();
            let order: Vec<_> = in_turns(&addresses)
                .iter()
                .map(|address| address.ip().to_string())
                .collect();
            assert_eq!(order, expected, "{addresses:?}");
        };
        check(&[], &[]);
        check(&["127.0.0.1"], &["127.0.0.1"]);
        check(&["127.0.0.1", "127.0.0.2", "[::1]"], &["127.0.0.1", "::1", "127.0.0.2"]);
        check(
            &["[::1]", "[::2]", "[::3]", "[::4]", "[::5]", "127.0.0.1"],
            &["::1", "127.0.0.1", "::2", "::3"],
        );
    }

    /// What happens to each address: how long it takes, and whether it answers.
    fn race(conducts: &[(u32, bool)], within: Duration) -> (Option<u16>, u8, Duration, Vec<u16>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let began = tokio::time::Instant::now();
            let begun = RefCell::new(Vec::new());
            let ports = 0..u16::try_from(conducts.len()).unwrap();
            let addresses: Vec<_> = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
            let connect = |address: SocketAddr| {
                begun.borrow_mut().push(address.port());
                let (millis, answers) = conducts[usize::from(address.port())];
                async move {
                    tokio::time::sleep(Duration::from_millis(millis.into())).await;
                    if answers {
                        Ok(address.port())
                    } else {
                        Err(io::ErrorKind::ConnectionRefused.into())
                    }
                }
            };
            let tried = run(&addresses, (began + within).into_std(), connect).await;
            (tried.outcome.ok(), tried.attempts, began.elapsed(), begun.take())
        })
    }

    #[test]
    fn the_first_that_answers_is_taken() {
        let millis = Duration::from_millis;
        let (won, attempts, took, _) = race(&[(20, true), (0, true)], SECOND);
        assert_eq!((won, attempts), (Some(0), 1), "nobody else is asked");
        assert!(took < millis(100), "{took:?}");
        // One that refuses makes room at once, one that is silent after its head start.
        let (won, attempts, took, _) = race(&[(10, false), (60_000, false), (30, true)], SECOND);
        assert_eq!((won, attempts), (Some(2), 3));
        assert!(took >= millis(250) && took < millis(400), "{took:?}");
        // Who was slow may still be the first.
        let (won, attempts, _, begun) = race(&[(400, true), (60_000, true)], SECOND);
        assert_eq!((won, attempts, begun), (Some(0), 2, vec![0, 1]));
    }

    #[test]
    fn it_ends_with_its_deadline_or_when_all_have_failed() {
        let (won, attempts, took, _) = race(&[(60_000, true); 6], SECOND);
        assert_eq!((won, attempts), (None, 4), "no more than so many are tried");
        assert!(took >= SECOND && took < 2 * SECOND, "{took:?}");
        let (won, attempts, took, _) = race(&[(1, false); 3], SECOND);
        assert_eq!((won, attempts), (None, 3));
        assert!(took < Duration::from_millis(100), "{took:?}");
        assert_eq!(race(&[], SECOND).0, None);
    }
}

//! Does any address of a server answer?
//!
//! A name may stand for several addresses, and requests go to all of them. A server is well when one of them is. What is
//! asked of an address is not known here.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::progress::Progress;

/// Asks addresses in turn until one answers. The next one is asked when an earlier one has failed, or has been silent for
/// its share of the time; it is still listened to then, as when clients choose between addresses (RFC 8305 section 5).
///
/// *Errors*: why each of them did not answer; of one that was silent, what it had noted of its progress.
pub(super) async fn any<F>(
    addresses: &[SocketAddr],
    timeout: Duration,
    ask: impl Fn(SocketAddr, Progress) -> F,
) -> Result<(), String>
where
    F: Future<Output = Result<(), String>> + 'static,
{
    let end = Instant::now() + timeout;
    let share = timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut reasons: Vec<Option<String>> = vec![None; addresses.len()];
    let progress: Vec<Progress> = addresses.iter().map(|_| Progress::default()).collect();
    let mut rest = addresses.iter().zip(&progress).enumerate();
    let mut asked = JoinSet::new();
    loop {
        let mut until = end;
        if let Some((at, (address, progress))) = rest.next() {
            let answer = ask(*address, progress.clone());
            asked.spawn_local(async move { (at, answer.await) });
            until = end.min(Instant::now() + share);
        }
        match timeout_at(until, asked.join_next()).await {
            Ok(Some(Ok((_, Ok(()))))) => return Ok(()),
            Ok(Some(Ok((at, Err(reason))))) => reasons[at] = Some(reason),
            // A probe that panicked has said so.
            Ok(Some(Err(_))) => {}
            Ok(None) => break,
            Err(_) if Instant::now() >= end => break,
            Err(_) => {}
        }
    }
    let silent = |progress: &Progress| match progress.words() {
        words if words.is_empty() => format!("no answer within {timeout:?}"),
        words => format!("no answer within {timeout:?}, {words}"),
    };
    let reasons = reasons.into_iter().zip(&progress);
    let reasons = reasons.map(|(reason, progress)| reason.unwrap_or_else(|| silent(progress)));
    let mut each = addresses.iter().zip(reasons);
    match addresses.len() {
        1 => Err(each.next().map(|(_, reason)| reason).unwrap_or_default()),
        _ => Err(each
            .map(|(address, reason)| format!("{address}: {reason}"))
            .collect::<Vec<_>>()
            .join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use isobar_net::runtime::{self, WorkerRuntime};

    use super::*;

    /// Addresses are written as what they do: `+` answers, `-` refuses, `.` is silent, `~` is so after a while, and a digit answers after as many
    /// tenths of the time. The outcome, and which ones were asked in what order.
    fn run(addresses: &str) -> (Result<(), String>, String) {
        const TIMEOUT: Duration = Duration::from_millis(400);
        let asked = Rc::new(RefCell::new(String::new()));
        let noted = Rc::clone(&asked);
        let behaviour: Vec<char> = addresses.chars().collect();
        let list: Vec<_> = (0..behaviour.len())
            .map(|at| SocketAddr::from(([10, 0, 0, 1], u16::try_from(at).unwrap())))
            .collect();
        let ask = move |address: SocketAddr, progress: Progress| {
            let what = behaviour[usize::from(address.port())];
            noted.borrow_mut().push(what);
            async move {
                match what {
                    '+' => Ok(()),
                    '-' => Err("refused".to_owned()),
                    '.' => std::future::pending().await,
                    '~' => {
                        progress.now("at the door");
                        std::future::pending().await
                    }
                    digit => {
                        tokio::time::sleep(TIMEOUT / 10 * digit.to_digit(10).unwrap()).await;
                        Ok(())
                    }
                }
            }
        };
        let outcome = runtime::run(
            WorkerRuntime::default(),
            || async move { any(&list, TIMEOUT, ask).await },
        );
        (outcome.unwrap(), asked.take())
    }

    #[test]
    fn one_address_that_answers_is_enough() {
        let check = |addresses, asked: &str| assert_eq!(run(addresses), (Ok(()), asked.to_owned()), "{addresses}");
        check("+", "+");
        check("+-.", "+");
        check("-+.", "-+");
        check("--+", "--+");
        check(".+", ".+");
        check(".-.+", ".-.+");
        // Slower than its share of the time, but in time.
        check("7.", "7.");
        check("7", "7");
    }

    #[test]
    fn why_each_failed_is_told() {
        let check = |addresses, expected: &str| assert_eq!(run(addresses).0, Err(expected.to_owned()), "{addresses}");
        check("-", "refused");
        check(".", "no answer within 400ms");
        check("~", "no answer within 400ms, at the door");
        check("--", "10.0.0.1:0: refused; 10.0.0.1:1: refused");
        check(".-", "10.0.0.1:0: no answer within 400ms; 10.0.0.1:1: refused");
    }
}

//! Who is the client of a connection that comes through a proxy?

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use isobar_l4::proxy::{HeaderReader, ProxyFault, is_expected};
use isobar_observe::Cause;

use crate::Worker;
use crate::address::AddressText;
use crate::connection::Client;

/// Reads whom a proxy in front speaks for, where the listener has such proxies; from then on that is who the client is. False: the
/// connection is over.
pub(crate) async fn introduce(client: &mut Client, worker: &Worker) -> bool {
    let site = Rc::clone(&client.site);
    let Some(sources) = &site.site.listener.proxy else {
        return true;
    };
    let told = match is_expected(sources, client.peer) {
        Ok(false) => return true,
        Ok(true) => {
            let timeout = site.site.listener.timeouts.handshake;
            client.timer.set(worker.wheel.now() + timeout);
            let mut reader = HeaderReader::default();
            poll_fn(|cx| {
                let Some(stream) = client.stream.connection() else {
                    return Poll::Ready(Err(ProxyFault::Ended));
                };
                if let Poll::Ready(told) = reader.poll(cx, &worker.scratch, stream) {
                    return Poll::Ready(told);
                }
                if worker.is_cutting() {
                    return Poll::Ready(Err(ProxyFault::Late));
                }
                worker.roster.note(client.seat(), cx.waker());
                client.timer.poll_expired(cx).map(|()| Err(ProxyFault::Late))
            })
            .await
        }
        Err(fault) => Err(fault),
    };
    match told {
        Ok(told) => {
            if let Some(source) = told.source {
                client.peer = source;
                client.peer_text = AddressText::of(source.ip());
            }
            client.idle_since = worker.wheel.now();
            true
        }
        Err(_) => {
            site.site.stats.of(worker.id).requests_refused.count(Cause::ProxyHeader);
            false
        }
    }
}

//! Does a server answer a datagram?

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use isobar_net::udp::{Inbox, Peer, Peers, ReadyPeers};
use isobar_plan::UdpProbe;

use super::heard::shown;
use crate::health::progress::Progress;

/// Sends the datagram, and waits for one that begins as expected; others are passed over. Where none is expected, the server is well
/// unless it is said within `patience` that it is not there.
pub(super) async fn ask(
    address: SocketAddr,
    (header, probe): (&[u8], &UdpProbe),
    (patience, progress): (Duration, &Progress),
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let peer = Peer::connect(address).map_err(failed)?;
    let watch = Peers::new().map_err(failed)?;
    watch.add(&peer, 0).map_err(failed)?;
    progress.now(format!("sent {}, and heard nothing", shown(&probe.send)));
    let (_, failure) = peer.send(header, std::iter::once(&*probe.send));
    if let Some(error) = failure {
        return Err(failed(error));
    }
    let (mut inbox, mut ready) = (Inbox::default(), ReadyPeers::default());
    loop {
        let heard = poll_fn(|cx| watch.poll(cx, &mut ready));
        match &probe.expect {
            Some(_) => heard.await.map_err(failed)?,
            None => match tokio::time::timeout(patience, heard).await {
                Ok(heard) => heard.map_err(failed)?,
                Err(_) => return Ok(()),
            },
        }
        inbox.clear();
        watch.is_not_empty();
        let count = peer.receive(&mut inbox).map_err(failed)?;
        let Some(expect) = &probe.expect else { return Ok(()) };
        for index in 0..count {
            let heard = inbox.payload(index);
            if heard.starts_with(expect) {
                return Ok(());
            }
            progress.now(format!("waiting for {}, heard {}", shown(expect), shown(heard)));
        }
    }
}

//! What changes in an upstream by itself, and what of it is worth telling?
//!
//! Servers that start slowly have more of their weight as time goes on, and levels that lose too much of theirs panic. One
//! task for each upstream looks when its state changes, and again when time alone changes it; while nothing does, it
//! sleeps. Nothing of this is on the way of a request.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isobar_balance::Tier;
use isobar_plan::{Event, PanicChange};
use isobar_upstream::{Members, Upstream};

use crate::EventSink;

/// From one refresh of an upstream to the next, at least: steps of very short windows are taken together.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// Keeps an upstream true, for ever.
pub(crate) async fn keep(upstream: Arc<Upstream>, events: EventSink) {
    let mut panicking: Vec<Tier> = Vec::new();
    loop {
        let members = upstream.members();
        tell(&upstream, &members, &panicking, &events);
        panicking = members.group.panicking().to_vec();
        let epoch = members.epoch();
        let next_step = members.next_step(Instant::now());
        // What left with this state is not to be held on to while nothing changes.
        drop(members);
        let changed = poll_fn(|cx| upstream.poll_changed(epoch, cx));
        match next_step {
            None => changed.await,
            Some(step) => {
                let is_over = tokio::time::timeout(step.max(LEAST_PAUSE), changed).await;
                if is_over.is_err() {
                    upstream.refresh();
                }
            }
        }
    }
}

/// Tells which levels began to panic since `before`, and which ended.
fn tell(upstream: &Upstream, members: &Members, before: &[Tier], events: &EventSink) {
    let now = members.group.panicking();
    let began = now.iter().filter(|tier| !before.contains(tier));
    let ended = before.iter().filter(|tier| !now.contains(tier));
    let began = began.map(|tier| (*tier, PanicChange::Entered));
    for (tier, change) in began.chain(ended.map(|tier| (*tier, PanicChange::Left))) {
        let strength = members.strength(tier);
        events(Event::Panic {
            upstream: upstream.name().clone(),
            tier,
            change,
            available: strength.available,
            servers: strength.servers,
        });
    }
}

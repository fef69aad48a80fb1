//! What follows when a server's health changes?
//!
//! The upstream is told first, so that whoever reads of it in the log finds it so. Many changes at a time, as when a
//! network fails, are one change for the upstream: making up its mind costs it a look at all its servers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use isobar_plan::{Event, HealthState};
use isobar_upstream::{Transition, Upstream};
use tokio::sync::Notify;

use crate::EventSink;

/// What is still to be told, shared by all schedules.
#[derive(Clone)]
pub(super) struct News(Rc<Inner>);

struct Inner {
    /// Upstreams that have to make up their minds, each of them once.
    changed: RefCell<Vec<Arc<Upstream>>>,
    waiting: RefCell<Vec<Event>>,
    arrived: Notify,
    events: EventSink,
}

impl News {
    pub(super) fn new(events: EventSink) -> Self {
        Self(Rc::new(Inner {
            changed: RefCell::default(),
            waiting: RefCell::default(),
            arrived: Notify::new(),
            events,
        }))
    }

    /// Takes in that the health of one of an upstream's servers changed, and what is to be written of that.
    pub(super) fn changed(&self, upstream: &Arc<Upstream>, transition: Transition, event: Event) {
        let unhealthy = |state| state == HealthState::Unhealthy;
        if unhealthy(transition.from) != unhealthy(transition.to) {
            let mut changed = self.0.changed.borrow_mut();
            if !changed.iter().any(|known| Arc::ptr_eq(known, upstream)) {
                changed.push(Arc::clone(upstream));
            }
        }
        self.tell(event);
    }

    /// Takes in what is to be written.
    pub(super) fn tell(&self, event: Event) {
        self.0.waiting.borrow_mut().push(event);
        self.0.arrived.notify_one();
    }

    /// Tells what there is, for ever. What arrives together is told together: this task runs behind those that are
    /// ready already.
    pub(super) async fn spread(self) {
        loop {
            self.0.arrived.notified().await;
            for upstream in self.0.changed.take() {
                upstream.refresh();
            }
            for event in self.0.waiting.take() {
                (self.0.events)(event);
            }
        }
    }
}

//! What is a listener's task told while it runs?

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Waker;

use crate::UdpSite;

/// What is wanted of the sockets of a listener, whatever it is called.
#[derive(Debug)]
pub struct Orders {
    site: RefCell<Arc<UdpSite>>,
    /// Moves on when something else is wanted.
    version: Cell<u64>,
    closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Orders {
    /// Datagrams come in by these rules.
    #[must_use]
    pub fn new(site: Arc<UdpSite>) -> Self {
        Self {
            site: RefCell::new(site),
            version: Cell::new(1),
            closing: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// From now on datagrams come in by these rules, perhaps under another name.
    pub fn set_site(&self, site: Arc<UdpSite>) {
        *self.site.borrow_mut() = site;
        self.changed();
    }

    /// Flows go on, and no more begin; the socket closes with the last.
    pub fn close(&self) {
        self.closing.set(true);
        self.changed();
    }

    fn changed(&self) {
        self.version.set(self.version.get() + 1);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(super) fn site(&self) -> Arc<UdpSite> {
        Arc::clone(&self.site.borrow())
    }

    pub(super) fn version(&self) -> u64 {
        self.version.get()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    pub(super) fn note(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

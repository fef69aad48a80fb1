//! What do all who serve connections on one thread have together?

use std::rc::Rc;

use isobar_net::scratch::Scratch;
use isobar_net::splice::Pipes;
use isobar_net::wheel::Wheel;

use crate::Tools;

/// What is there once a thread. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The timers; somebody has to drive them.
    pub wheel: Wheel,
    /// The buffers.
    pub scratch: Rc<Scratch>,
    /// The pipes.
    pub pipes: Pipes,
}

impl Shared {
    /// What moves bytes.
    #[must_use]
    pub fn tools(&self) -> Tools<'_> {
        Tools {
            scratch: &self.scratch,
            pipes: &self.pipes,
        }
    }
}

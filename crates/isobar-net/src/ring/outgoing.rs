//! Which bytes are on their way to the kernel, and whose are they?

/// Messages that the kernel may look at, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    kept: Vec<Option<(u32, Vec<u8>)>>,
    free: Vec<u32>,
}

impl Outgoing {
    /// Keeps bytes; their number.
    pub(crate) fn keep(&mut self, owner: u32, bytes: Vec<u8>) -> u32 {
        let key = self.free.pop().unwrap_or_else(|| {
            self.kept.push(None);
            u32::try_from(self.kept.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.kept.get_mut(key as usize) {
            *place = Some((owner, bytes));
        }
        key
    }

    /// Whose bytes they were, and these; none: no such number.
    pub(crate) fn take(&mut self, key: u32) -> Option<(u32, Vec<u8>)> {
        let taken = self.kept.get_mut(key as usize)?.take()?;
        self.free.push(key);
        Some(taken)
    }
}

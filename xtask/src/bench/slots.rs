//! Which connection does a token stand for?

/// Values under small numbers, which are used again.
pub(super) struct Slots<T> {
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slots<T> {
    /// Without values.
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The number that the next value will have.
    pub(super) fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.entries.len())
    }

    /// Keeps a value under [`Slots::next`].
    pub(super) fn insert(&mut self, value: T) {
        match self.free.pop() {
            Some(index) => self.entries[index] = Some(value),
            None => self.entries.push(Some(value)),
        }
    }

    /// The value under a number, if it is still there.
    pub(super) fn at(&mut self, index: usize) -> Option<&mut T> {
        self.entries.get_mut(index)?.as_mut()
    }

    /// Lets go of a value.
    pub(super) fn remove(&mut self, index: usize) {
        if self.entries.get_mut(index).and_then(Option::take).is_some() {
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again() {
        let mut slots = Slots::new();
        for value in ["a", "b"] {
            slots.insert(value);
        }
        slots.remove(0);
        slots.remove(0);
        assert_eq!(slots.at(0), None);
        assert_eq!(slots.next(), 0);
        slots.insert("c");
        assert_eq!(slots.at(0).copied(), Some("c"));
        assert_eq!(slots.next(), 2);
        assert_eq!(slots.at(2), None);
    }
}

//! Where do bytes lie while a worker looks at them?
//!
//! A connection that waits holds no buffer: it waits for readiness and then borrows the worker's. The closures make that a
//! matter of types, since no await fits into them. What the bytes mean is not known here.

use std::cell::RefCell;

/// The two buffers of a worker, borrowed only between two awaits.
#[derive(Debug)]
pub struct Scratch {
    input: RefCell<Box<[u8]>>,
    output: RefCell<Vec<u8>>,
}

impl Scratch {
    /// Bytes of the input buffer. Large reads are what makes relaying cheap; past this size the gain is lost to the cache.
    pub const INPUT_BYTES: usize = 128 * 1024;

    /// Bytes the output buffer may keep from one borrow to the next.
    pub const OUTPUT_KEPT_BYTES: usize = 256 * 1024;

    /// Buffers for one worker.
    ///
    /// *Cost*: 128 KiB of address space that becomes memory as it is written, and 16 KiB.
    #[must_use]
    pub fn new() -> Self {
        let output = Vec::with_capacity(16 * 1024);
        Self {
            input: RefCell::new(vec![0; Self::INPUT_BYTES].into_boxed_slice()),
            output: RefCell::new(output),
        }
    }

    /// Lends the input buffer: [`INPUT_BYTES`](Self::INPUT_BYTES) long, with whatever the last borrower left in it.
    ///
    /// *Panics* when called from within another borrow.
    pub fn with_input<R>(&self, f: impl FnOnce(&mut [u8]) -> R) -> R {
        f(&mut self.input.borrow_mut())
    }

    /// Lends the input buffer as [`with_input`](Self::with_input) does, and the output buffer, empty.
    ///
    /// *Cost*: none where the output fits what earlier borrows have made room for, and that room is at most
    /// [`OUTPUT_KEPT_BYTES`](Self::OUTPUT_KEPT_BYTES).
    ///
    /// *Panics* when called from within another borrow.
    pub fn with<R>(&self, f: impl FnOnce(&mut [u8], &mut Vec<u8>) -> R) -> R {
        let mut output = self.output.borrow_mut();
        output.clear();
        let result = f(&mut self.input.borrow_mut(), &mut output);
        if output.capacity() > Self::OUTPUT_KEPT_BYTES {
            output.clear();
            output.shrink_to(Self::OUTPUT_KEPT_BYTES);
        }
        result
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn output_is_empty_and_keeps_a_bounded_capacity() {
        let scratch = Scratch::new();
        let capacity_after = |written: usize| {
            scratch.with(|_, output| output.resize(written, 1));
            scratch.with(|input, output| {
                assert_eq!((input.len(), output.len()), (Scratch::INPUT_BYTES, 0));
                output.capacity()
            })
        };
        assert!(capacity_after(100 * 1024) >= 100 * 1024, "what fits the bound is kept");
        assert!(
            capacity_after(4 * 1024 * 1024) <= Scratch::OUTPUT_KEPT_BYTES,
            "what does not is given back"
        );
    }
}

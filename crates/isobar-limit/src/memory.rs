//! Where does a table get its memory?

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Told where memory is, and how many bytes of it, before anything is written there.
pub type Advise = fn(*const (), usize);

/// So many of what is there from the beginning.
pub(crate) fn filled<T: Default>(count: usize, advise: Advise) -> Box<[T]> {
    let mut all = Vec::with_capacity(count);
    let memory = all.spare_capacity_mut();
    advise(memory.as_ptr().cast(), size_of_val(memory));
    all.resize_with(count, T::default);
    all.into_boxed_slice()
}

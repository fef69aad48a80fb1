//! Which slots are in which list? Knows their order, not what they stand for.

use alloc::vec;
use alloc::vec::Vec;

/// No slot, or no list.
const NONE: u32 = u32::MAX;

/// Linked lists of slots; a slot is in one of them at most.
///
/// *Cost*: O(1) for everything but [`new`](Self::new); allocates for new slots only.
#[derive(Debug, Clone)]
pub(super) struct Lists {
    ends: Vec<Ends>,
    links: Vec<Link>,
}

#[derive(Debug, Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    list: u32,
    before: u32,
    after: u32,
}

impl Lists {
    /// Lists without slots, with room for `slots`.
    pub(super) fn new(lists: usize, slots: usize) -> Self {
        let ends = Ends {
            first: NONE,
            last: NONE,
        };
        Self {
            ends: vec![ends; lists],
            links: Vec::with_capacity(slots),
        }
    }

    /// How many lists there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Makes room for so many slots.
    pub(super) fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots.saturating_sub(self.links.len()));
    }

    /// Adds the next slot, which is in no list.
    pub(super) fn add_slot(&mut self) {
        self.links.push(Link {
            list: NONE,
            before: NONE,
            after: NONE,
        });
    }

    /// The list a slot is in.
    pub(super) fn list_of(&self, slot: u32) -> Option<u32> {
        self.link(slot).map(|link| link.list).filter(|&list| list != NONE)
    }

    /// The first slot of a list.
    pub(super) fn first(&self, list: u32) -> Option<u32> {
        let ends = usize::try_from(list).ok().and_then(|list| self.ends.get(list));
        ends.map(|ends| ends.first).filter(|&slot| slot != NONE)
    }

    /// The slot after one, in the same list.
    pub(super) fn after(&self, slot: u32) -> Option<u32> {
        self.link(slot).map(|link| link.after).filter(|&slot| slot != NONE)
    }

    /// Moves a slot to the front of a list.
    pub(super) fn push_front(&mut self, list: u32, slot: u32) {
        self.remove(slot);
        let after = self.first(list).unwrap_or(NONE);
        self.join(list, NONE, slot);
        self.join(list, slot, after);
    }

    /// Moves a slot to the end of a list.
    pub(super) fn push_back(&mut self, list: u32, slot: u32) {
        self.remove(slot);
        let last = self.ends_mut(list).map_or(NONE, |ends| ends.last);
        self.join(list, last, slot);
        self.join(list, slot, NONE);
    }

    /// Takes a slot out of its list, where it is in one.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(&Link { list, before, after }) = self.link(slot) else {
            return;
        };
        if list != NONE {
            self.join(list, before, after);
            self.set(slot, |link| {
                *link = Link {
                    list: NONE,
                    before: NONE,
                    after: NONE,
                };
            });
        }
    }

    /// Makes two slots of a list neighbours; no slot stands for its end.
    fn join(&mut self, list: u32, before: u32, after: u32) {
        if before == NONE {
            if let Some(ends) = self.ends_mut(list) {
                ends.first = after;
            }
        } else {
            self.set(before, |link| (link.list, link.after) = (list, after));
        }
        if after == NONE {
            if let Some(ends) = self.ends_mut(list) {
                ends.last = before;
            }
        } else {
            self.set(after, |link| (link.list, link.before) = (list, before));
        }
    }

    fn link(&self, slot: u32) -> Option<&Link> {
        self.links.get(usize::try_from(slot).ok()?)
    }

    fn set(&mut self, slot: u32, change: impl FnOnce(&mut Link)) {
        let link = usize::try_from(slot).ok().and_then(|slot| self.links.get_mut(slot));
        debug_assert!(link.is_some(), "there is no slot {slot}");
        if let Some(link) = link {
            change(link);
        }
    }

    fn ends_mut(&mut self, list: u32) -> Option<&mut Ends> {
        self.ends.get_mut(usize::try_from(list).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::Lists;
    use alloc::vec::Vec;

    #[test]
    fn slots_move_between_lists() {
        let mut lists = Lists::new(2, 4);
        (0..4).for_each(|_| lists.add_slot());
        let order = |lists: &Lists, list| -> Vec<u32> {
            core::iter::successors(lists.first(list), |&slot| lists.after(slot)).collect()
        };
        (0..3).for_each(|slot| lists.push_back(0, slot));
        lists.push_front(0, 3);
        assert_eq!(order(&lists, 0), [3, 0, 1, 2]);
        lists.push_back(0, 0);
        lists.push_front(1, 1);
        lists.push_front(1, 3);
        assert_eq!((order(&lists, 0), order(&lists, 1)), ([2, 0].into(), [3, 1].into()));
        lists.remove(2);
        lists.remove(2);
        assert_eq!(
            (lists.list_of(2), lists.list_of(0), lists.list_of(9)),
            (None, Some(0), None)
        );
        lists.remove(0);
        assert_eq!((lists.first(0), lists.first(1)), (None, Some(3)));
        lists.push_back(0, 2);
        assert_eq!(order(&lists, 0), [2]);
    }
}

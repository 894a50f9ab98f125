//! Messages in a row, oldest first.

use alloc::collections::VecDeque;

use super::job::Numbered;

/// Sorted by id. Grows by a 32nd, so that hardly more memory is held than messages need.
#[derive(Clone, Debug)]
pub(super) struct Row<T>(VecDeque<T>);

impl<T> Default for Row<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Numbered> Row<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.0.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Those with this id or a higher one.
    pub(super) fn from(&self, id: u64) -> impl Iterator<Item = &T> {
        self.0.range(self.0.partition_point(|other| other.id() < id)..)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// Puts one where its id says.
    pub(super) fn insert(&mut self, item: T) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(growth(self.0.len()));
        }
        if self.0.back().is_none_or(|last| last.id() < item.id()) {
            return self.0.push_back(item);
        }
        let at = self.0.partition_point(|other| other.id() < item.id());
        self.0.insert(at, item);
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let item = self.0.pop_front()?;
        self.give_back_room();
        Some(item)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let at = self.0.binary_search_by_key(&id, Numbered::id).ok()?;
        let item = self.0.remove(at);
        self.give_back_room();
        item
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
        self.give_back_room();
    }

    /// Takes all of it, oldest first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        core::mem::take(&mut self.0).into_iter()
    }

    /// Does not hold on to the memory of a backlog that has gone.
    fn give_back_room(&mut self) {
        if is_roomy(self.0.len(), self.0.capacity()) {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<T>()
    }
}

/// By how many entries a full collection of `len` grows.
pub(super) fn growth(len: usize) -> usize {
    (len / 32).max(1)
}

/// Whether a collection holds far more memory than it needs.
pub(super) fn is_roomy(len: usize, capacity: usize) -> bool {
    len < capacity / 4 || len == 0
}

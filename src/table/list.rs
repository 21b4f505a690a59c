//! Doubly linked lists of slab indices: order of age without moving records.

use super::{NONE, reserve};

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// The links of one membership; each index is in at most one [`List`] of these links.
#[derive(Clone, Debug, Default)]
pub struct Links(Vec<Link>);

/// A list of indices, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }
}

impl List {
    /// Indices in the list.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// True without indices.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The oldest index.
    pub fn front(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Appends `index` as the youngest. It must not be in any list of these links.
    pub fn push_back(&mut self, links: &mut Links, index: u32) {
        links.set(index, Link { prev: self.tail, next: NONE });
        match links.0.get_mut(self.tail as usize) {
            Some(link) => link.next = index,
            None => self.head = index,
        }
        self.tail = index;
        self.len += 1;
    }

    /// Takes `index` out. It must be in this list.
    pub fn remove(&mut self, links: &mut Links, index: u32) {
        let Some(Link { prev, next }) = links.0.get(index as usize).copied() else { return };
        match links.0.get_mut(prev as usize) {
            Some(link) => link.next = next,
            None => self.head = next,
        }
        match links.0.get_mut(next as usize) {
            Some(link) => link.prev = prev,
            None => self.tail = prev,
        }
        self.len = self.len.saturating_sub(1);
    }

    /// Puts `new` in the place of `old`, which is in this list.
    pub fn replace(&mut self, links: &mut Links, old: u32, new: u32) {
        let Some(link) = links.0.get(old as usize).copied() else { return };
        links.set(new, link);
        match links.0.get_mut(link.prev as usize) {
            Some(before) => before.next = new,
            None => self.head = new,
        }
        match links.0.get_mut(link.next as usize) {
            Some(after) => after.prev = new,
            None => self.tail = new,
        }
    }

    /// Makes `index`, which is in this list, the youngest.
    pub fn touch(&mut self, links: &mut Links, index: u32) {
        if self.tail != index {
            self.remove(links, index);
            self.push_back(links, index);
        }
    }

    /// The index after `index`, towards the youngest.
    pub fn next(&self, links: &Links, index: u32) -> Option<u32> {
        links.0.get(index as usize).map(|link| link.next).filter(|next| *next != NONE)
    }
}

impl Links {
    /// Links for indices below `capacity`.
    pub fn new(capacity: usize) -> Self {
        Self(reserve(capacity))
    }

    fn set(&mut self, index: u32, link: Link) {
        let at = index as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, Link { prev: NONE, next: NONE });
        }
        if let Some(slot) = self.0.get_mut(at) {
            *slot = link;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(list: &List, links: &Links) -> Vec<u32> {
        let mut out = Vec::new();
        let mut at = list.front();
        while let Some(index) = at {
            out.push(index);
            at = list.next(links, index);
        }
        assert_eq!(out.len(), list.len());
        out
    }

    #[test]
    fn order_is_by_last_touch() {
        let (mut list, mut links) = (List::default(), Links::default());
        for index in [3, 1, 2] {
            list.push_back(&mut links, index);
        }
        list.touch(&mut links, 3);
        assert_eq!(content(&list, &links), [1, 2, 3]);
        list.remove(&mut links, 2);
        assert_eq!(content(&list, &links), [1, 3]);
        list.remove(&mut links, 3);
        list.remove(&mut links, 1);
        assert!(content(&list, &links).is_empty());
        list.push_back(&mut links, 2);
        assert_eq!(content(&list, &links), [2]);
    }

    #[test]
    fn a_replaced_index_keeps_the_place() {
        for old in [1, 2, 3] {
            let (mut list, mut links) = (List::default(), Links::default());
            for index in [1, 2, 3] {
                list.push_back(&mut links, index);
            }
            list.replace(&mut links, old, 9);
            let expected = [1, 2, 3].map(|index| if index == old { 9 } else { index });
            assert_eq!(content(&list, &links), expected);
            assert_eq!(list.front(), Some(expected[0]));
            list.push_back(&mut links, 4);
            assert_eq!(list.next(&links, expected[2]), Some(4));
        }
    }
}

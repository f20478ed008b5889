//! A vector: a radix tree of nodes with up to 64 children, as in Bagwell's ideal hash trees (EPFL, 2001) and the vectors
//! of Clojure. A change is O(64 log₆₄ n).

use std::sync::Arc;

use crate::ring::prefetch;

/// Bits of an index that one level decides.
const BITS: usize = 6;
const WIDTH: usize = 1 << BITS;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct PersistentVec<T> {
    root: Arc<Node<T>>,
    len: usize,
    /// Levels of branches above the leaves.
    height: usize,
}

#[derive(Clone, Debug)]
enum Node<T> {
    Branch(Vec<Arc<Node<T>>>),
    Leaf(Vec<T>),
}

impl<T> Default for PersistentVec<T> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0, height: 0 }
    }
}

impl<T> PersistentVec<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        (index < self.len).then(|| self.leaf(index).get(index % WIDTH)).flatten()
    }

    /// Has the memory of the item at `index` fetched.
    pub(crate) fn prefetch(&self, index: usize) {
        prefetch(self.leaf(index).as_ptr().wrapping_add(index % WIDTH), 1);
    }

    /// The items in order, in slices of up to 64.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[T]> {
        (0..self.len).step_by(WIDTH).map(|index| self.leaf(index))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks().flatten()
    }

    fn leaf(&self, index: usize) -> &[T] {
        let mut node = &*self.root;
        for level in (1..=self.height).rev() {
            match node {
                Node::Branch(children) => match children.get(child(index, level)) {
                    Some(child) => node = child,
                    None => return &[],
                },
                Node::Leaf(_) => break,
            }
        }
        if let Node::Leaf(items) = node { items } else { &[] }
    }
}

impl<T: Clone> FromIterator<T> for PersistentVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut all = Self::default();
        items.into_iter().for_each(|item| all.push(item));
        all
    }
}

impl<T: Clone> PersistentVec<T> {
    pub(crate) fn push(&mut self, item: T) {
        if self.len == WIDTH << (BITS * self.height) {
            let below = std::mem::take(self);
            *self = Self {
                root: Arc::new(Node::Branch(vec![below.root])),
                len: below.len,
                height: below.height + 1,
            };
        }
        let index = self.len;
        self.leaf_mut(index).push(item);
        self.len += 1;
    }

    /// Replaces the item at `index`; nothing happens if there is none.
    pub(crate) fn set(&mut self, index: usize, item: T) {
        if index < self.len
            && let Some(place) = self.leaf_mut(index).get_mut(index % WIDTH)
        {
            *place = item;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.len.checked_sub(1)?;
        let item = self.leaf_mut(last).pop();
        self.len = last;
        if last == 0 {
            *self = Self::default();
        }
        item
    }

    /// Removes the item at `index`; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, index: usize) {
        let Some(last) = self.pop() else { return };
        // If the last one was meant, this sets nothing.
        self.set(index, last);
    }

    /// The leaf of `index`, which is at most one behind the last item; nodes that clones share are copied.
    fn leaf_mut(&mut self, index: usize) -> &mut Vec<T> {
        let mut node = Arc::make_mut(&mut self.root);
        let mut level = self.height;
        loop {
            match node {
                Node::Leaf(items) => return items,
                Node::Branch(children) => {
                    let at = child(index, level);
                    level -= 1;
                    if at == children.len() {
                        let empty =
                            if level == 0 { Node::Leaf(Vec::new()) } else { Node::Branch(Vec::new()) };
                        children.push(Arc::new(empty));
                    }
                    node = Arc::make_mut(&mut children[at]);
                }
            }
        }
    }
}

fn child(index: usize, level: usize) -> usize {
    index >> (BITS * level) & (WIDTH - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(ours: &PersistentVec<usize>, model: &[usize]) {
        assert_eq!((ours.len(), ours.is_empty()), (model.len(), model.is_empty()));
        assert!(ours.iter().eq(model), "{ours:?} {model:?}");
        assert_eq!(ours.get(model.len()), None);
        assert_eq!(ours.get(model.len() / 2), model.get(model.len() / 2));
    }

    #[test]
    fn it_grows_and_shrinks_through_its_levels() {
        let (mut ours, mut model) = (PersistentVec::default(), Vec::new());
        for item in 0..WIDTH * WIDTH + 130 {
            ours.push(item);
            model.push(item);
        }
        check(&ours, &model);
        let snapshot = ours.clone();
        while model.len() > 3 {
            ours.swap_remove(model.len() / 3);
            model.swap_remove(model.len() / 3);
        }
        check(&ours, &model);
        assert!(snapshot.iter().copied().eq(0..WIDTH * WIDTH + 130), "a clone does not change");
        ours.push(7);
        model.push(7);
        check(&ours, &model);
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(ops in prop::collection::vec((0..10usize, 0..5_000usize), 0..600)) {
            let (mut ours, mut model) = (PersistentVec::default(), Vec::new());
            for (op, number) in ops {
                match op {
                    0..6 => (0..number % 40).for_each(|item| { ours.push(item); model.push(item); }),
                    6 if !model.is_empty() => {
                        ours.set(number % model.len(), number);
                        let at = number % model.len();
                        model[at] = number;
                    }
                    7 => prop_assert_eq!(ours.pop(), model.pop()),
                    _ if !model.is_empty() => {
                        ours.swap_remove(number % model.len());
                        model.swap_remove(number % model.len());
                    }
                    _ => {}
                }
            }
            check(&ours, &model);
        }
    }
}

//! A map from keys that bring their hash: a hash array mapped trie (Bagwell, "Ideal Hash Trees", EPFL, 2001) whose
//! leaves hold a few entries, so that most of them cost no node of their own.

use std::sync::Arc;

/// Bits of a hash that one level decides.
const BITS: u32 = 4;
/// Levels of a hash; below them a leaf takes any number of entries.
const LEVELS: u32 = u64::BITS / BITS;
/// Entries of a leaf above the last level.
const LEAF_MAX: usize = 8;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct PersistentMap<K, V> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    /// A bit for each child that is there, and these in the order of their bits.
    Branch(u16, Vec<Arc<Node<K, V>>>),
    Leaf(Vec<Entry<K, V>>),
}

#[derive(Clone, Debug)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K, V> Default for PersistentMap<K, V> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<K, V> PersistentMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of the key with this hash that `is` it.
    pub(crate) fn get(&self, hash: u64, is: impl Fn(&K) -> bool) -> Option<&V> {
        let mut node = &**self.root.as_ref()?;
        for level in 0.. {
            match node {
                Node::Branch(bits, children) => node = children.get(child(*bits, hash, level)?)?,
                Node::Leaf(entries) => {
                    let found = entries.iter().find(|entry| entry.hash == hash && is(&entry.key));
                    return found.map(|entry| &entry.value);
                }
            }
        }
        None
    }

    /// Hands each entry to `each`, in the order of the hashes' low bits.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&K, &V)) {
        fn walk<K, V>(node: &Node<K, V>, each: &mut impl FnMut(&K, &V)) {
            match node {
                Node::Branch(_, children) => children.iter().for_each(|child| walk(child, each)),
                Node::Leaf(entries) => entries.iter().for_each(|entry| each(&entry.key, &entry.value)),
            }
        }
        if let Some(root) = &self.root {
            walk(root, &mut each);
        }
    }
}

impl<K: Clone, V: Clone> PersistentMap<K, V> {
    /// The value of the key with this hash that `is` it, made if it is not there.
    pub(crate) fn get_or_insert(
        &mut self,
        hash: u64,
        is: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> &mut V {
        let root = self.root.get_or_insert_with(|| Arc::new(Node::Leaf(Vec::new())));
        insert(root, 0, hash, &is, make, &mut self.len)
    }

    /// Removes the key with this hash that `is` it. Answers whether it was there.
    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(&K) -> bool) -> bool {
        // Looked for first: a miss copies nothing.
        if self.get(hash, &is).is_none() {
            return false;
        }
        if let Some(root) = &mut self.root {
            remove(root, 0, hash, &is);
        }
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
        }
        true
    }
}

fn insert<'a, K: Clone, V: Clone>(
    node: &'a mut Arc<Node<K, V>>,
    level: u32,
    hash: u64,
    is: &impl Fn(&K) -> bool,
    make: impl FnOnce() -> (K, V),
    len: &mut usize,
) -> &'a mut V {
    let node = Arc::make_mut(node);
    if let Node::Leaf(entries) = node
        && entries.len() >= LEAF_MAX
        && level < LEVELS
    {
        *node = split(std::mem::take(entries), level);
    }
    match node {
        Node::Leaf(entries) => {
            let at = entries.iter().position(|entry| entry.hash == hash && is(&entry.key));
            let at = at.unwrap_or_else(|| {
                *len += 1;
                let (key, value) = make();
                entries.reserve_exact(1);
                entries.push(Entry { hash, key, value });
                entries.len() - 1
            });
            &mut entries[at].value
        }
        Node::Branch(bits, children) => {
            let at = child(*bits, hash, level).unwrap_or_else(|| {
                let bit = 1 << index(hash, level);
                let at = (*bits & (bit - 1)).count_ones() as usize;
                *bits |= bit;
                children.insert(at, Arc::new(Node::Leaf(Vec::new())));
                at
            });
            insert(&mut children[at], level + 1, hash, is, make, len)
        }
    }
}

/// A leaf's entries one level further down.
fn split<K, V>(entries: Vec<Entry<K, V>>, level: u32) -> Node<K, V> {
    let mut leaves: [Vec<Entry<K, V>>; 1 << BITS] = Default::default();
    for entry in entries {
        leaves[index(entry.hash, level)].push(entry);
    }
    let bits = (0..1 << BITS).filter(|&at: &usize| !leaves[at].is_empty()).fold(0, |bits, at| bits | 1 << at);
    let filled = leaves.into_iter().filter(|entries| !entries.is_empty());
    Node::Branch(bits, filled.map(|entries| Arc::new(Node::Leaf(entries))).collect())
}

/// Removes an entry that is there.
fn remove<K: Clone, V: Clone>(node: &mut Arc<Node<K, V>>, level: u32, hash: u64, is: &impl Fn(&K) -> bool) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => entries.retain(|entry| entry.hash != hash || !is(&entry.key)),
        Node::Branch(bits, children) => {
            let Some(at) = child(*bits, hash, level) else { return };
            remove(&mut children[at], level + 1, hash, is);
            if children[at].is_empty() {
                children.remove(at);
                *bits &= !(1 << index(hash, level));
            }
        }
    }
}

impl<K, V> Node<K, V> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Branch(_, children) => children.is_empty(),
            Self::Leaf(entries) => entries.is_empty(),
        }
    }
}

/// Which of a branch's places a hash leads to.
fn index(hash: u64, level: u32) -> usize {
    (hash >> (BITS * level)) as usize & ((1 << BITS) - 1)
}

/// Where the child of that place stands, if it is there.
fn child(bits: u16, hash: u64, level: u32) -> Option<usize> {
    let bit = 1 << index(hash, level);
    (bits & bit != 0).then(|| (bits & (bit - 1)).count_ones() as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A hash that sends many keys the same way, for some all the way.
    fn hash(key: u32) -> u64 {
        if key.is_multiple_of(3) { 7 } else { u64::from(key / 2).wrapping_mul(0x9E37_79B9_7F4A_7C15) }
    }

    fn check(ours: &PersistentMap<u32, u32>, model: &BTreeMap<u32, u32>) {
        assert_eq!((ours.len(), ours.is_empty()), (model.len(), model.is_empty()));
        let mut seen = BTreeMap::new();
        ours.for_each(|key, value| assert_eq!(seen.insert(*key, *value), None));
        assert_eq!(seen, *model);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in prop::collection::vec((0..4u8, 0..300u32), 0..800)) {
            let (mut ours, mut model) = (PersistentMap::default(), BTreeMap::new());
            let (mut snapshot, mut then) = (PersistentMap::default(), BTreeMap::new());
            for (op, key) in ops {
                let is = |other: &u32| *other == key;
                match op {
                    0 | 1 => {
                        *ours.get_or_insert(hash(key), is, || (key, 0)) += 1;
                        *model.entry(key).or_insert(0) += 1;
                    }
                    2 => prop_assert_eq!(ours.remove(hash(key), is), model.remove(&key).is_some()),
                    _ => {
                        prop_assert_eq!(ours.get(hash(key), is), model.get(&key));
                        check(&snapshot, &then);
                        (snapshot, then) = (ours.clone(), model.clone());
                    }
                }
            }
            check(&ours, &model);
            check(&snapshot, &then);
            for key in model.into_keys() {
                prop_assert!(ours.remove(hash(key), |other| *other == key));
            }
            prop_assert!(ours.root.is_none());
        }
    }
}

//! Collections whose clones share their content: the snapshots of the index are made of them.
//!
//! A clone is one reference. A change copies the nodes between the root and the place, and only those that a clone
//! shares. Why not a library: the ones there are come under a licence that asks for more than ours does, and this is
//! all we need of them.

mod map;
mod vec;

pub(crate) use map::PersistentMap;
pub(crate) use vec::PersistentVec;

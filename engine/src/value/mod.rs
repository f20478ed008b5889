//! JSON in the two forms the engine needs.
//!
//! [`Document`] indexes the text of an event: each value keeps its place in the source, so rendering copies bytes,
//! numbers of any size stay exact, and a duplicate key is refused while reading. [`Value`] is a small tree for
//! what is read once per subscription: variables, arguments, constants.
//!
//! Why not one parser for both: simd-json (which reads [`Value`]) decodes strings and numbers, stops at 64-bit
//! integers and keeps duplicate keys; a document would have to be encoded again for every body.

mod document;
mod scan;
mod tree;

pub use document::{Document, Entries, Items, Kind, Lookup, Node};
pub use scan::{DocumentError, DocumentProblem};
pub use tree::{Value, ValueError, quote, write_string};

//! Room on the stack for what recurses: texts are nested as deep as their bounds allow, and threads are small.
//!
//! Parsers and the passes over what they make take kilobytes a level, in a build without optimisation up to 170. So
//! where the thread may not have the room that a text can take in the worst build, the work is done on a stack of its
//! own. A text that is nested little has room in a usual thread, and costs a look at the stack's end.

/// A stack of its own is so large at least: work inside the work finds room there, too. What is not used is not there.
const STACK_BYTES: usize = 4 << 20;

/// Runs what takes up to `bytes` of stack.
pub(crate) fn with_room<T>(bytes: usize, run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(bytes, STACK_BYTES.max(bytes + STACK_BYTES / 4), run)
}

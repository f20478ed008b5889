//! What a run may still spend, and where it puts what it makes.

use bumpalo::Bump;

use super::val::{Problem, Val, copy_text};

/// Bytes that cost one step where all of them are looked at.
const BYTES_A_STEP: usize = 64;

/// The budget of one run. Whatever takes time or memory in proportion to data goes through here.
#[derive(Debug)]
pub(super) struct Work<'a> {
    /// Takes texts and lists.
    pub(super) arena: &'a Bump,
    /// Steps that are left.
    pub(super) steps: u32,
}

impl<'a> Work<'a> {
    /// Spends steps for `bytes` that are looked at.
    #[inline]
    pub(super) fn look_at(&mut self, bytes: usize) -> Result<(), Problem> {
        self.spend(bytes / BYTES_A_STEP)
    }

    /// Spends `steps`.
    #[inline]
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Problem> {
        let left = u32::try_from(steps).ok().and_then(|steps| self.steps.checked_sub(steps));
        self.steps = left.ok_or(Problem::Steps)?;
        Ok(())
    }

    /// Elements or entries of a value; those of JSON are counted one by one.
    pub(super) fn len(&mut self, value: Val<'_>) -> Result<Option<usize>, Problem> {
        let len = value.len();
        if let (Val::Array(_) | Val::Object(_), Some(len)) = (value, len) {
            self.spend(len)?;
        }
        Ok(len)
    }

    /// Puts a text into the arena.
    pub(super) fn text(&self, text: &str) -> Val<'a> {
        copy_text(self.arena, text)
    }

    /// Room for `len` elements in the arena.
    pub(super) fn room<T: Copy>(&self, len: usize, empty: T) -> Result<&'a mut [T], Problem> {
        self.arena.try_alloc_slice_fill_copy(len, empty).map_err(|_| Problem::Memory)
    }

    /// Puts values into the arena.
    pub(super) fn list(
        &self,
        values: impl ExactSizeIterator<Item = Val<'a>>,
    ) -> Result<&'a [Val<'a>], Problem> {
        let room = self.room(values.len(), Val::Null)?;
        room.iter_mut().zip(values).for_each(|(place, value)| *place = value);
        Ok(room)
    }
}

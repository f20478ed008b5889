//! A payload addressed to one subscription: what a ring holds, 16 bytes.

use crate::payload::Payload;

/// Where a frame goes: the subscription's number in its subscriber, and the frame's number in its subscription.
///
/// Frames of a subscription are numbered from 1 without holes, so a reader that finds one knows how many frames
/// were taken back before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The subscription's number in its subscriber, from 1; never used twice.
    pub subscription: u32,
    /// The frame's number in its subscription, from 1, wrapping.
    pub sequence: u32,
}

impl Address {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.subscription) << 32 | u64::from(self.sequence)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self { subscription: (bits >> 32) as u32, sequence: bits as u32 }
    }
}

/// A frame as the ring's slot holds it.
type Slot = (Payload, u64);

const _: () = assert!(size_of::<Slot>() <= 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_bits() {
        let address = Address { subscription: u32::MAX - 1, sequence: 7 };
        assert_eq!(Address::from_bits(address.to_bits()), address);
    }
}

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
    /// A rate withheld the frames that are missing directly before this one, or some of them.
    pub limited: bool,
}

/// The highest number of a subscription: the bit above it says `limited`.
pub(crate) const SUBSCRIPTION_MAX: u32 = u32::MAX >> 1;

impl Address {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.limited) << 63 | u64::from(self.subscription) << 32 | u64::from(self.sequence)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        let subscription = (bits >> 32) as u32 & SUBSCRIPTION_MAX;
        Self { subscription, sequence: bits as u32, limited: bits >> 63 == 1 }
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
        for limited in [false, true] {
            let address = Address { subscription: SUBSCRIPTION_MAX, sequence: u32::MAX, limited };
            assert_eq!(Address::from_bits(address.to_bits()), address);
        }
    }
}

//! FNV-1a, 32 bits: tells rules apart that nobody made alike on purpose.

/// The hash of nothing.
pub const START: u32 = 0x811c_9dc5;

/// The hash of what `hash` is of, followed by these bytes.
#[must_use]
pub fn fnv(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

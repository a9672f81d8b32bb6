//! `metrics.listen`: what was counted, here and in the kernel, in the Prometheus text format.

mod counted;
pub mod endpoint;
pub mod families;
pub mod observe;
pub mod owners;
pub mod scrape;
pub mod servers;
mod tally;
mod text;
mod transfers;

pub use counted::{KernelCounters, Limited, ServerCounters};
pub use text::verdict_histogram;

//! From the configuration to what should be so: rows in the kernel, and what the director is told.
//!
//! Pure: what the kernel has, what operators and health checks say, and what names resolve to comes in as values.

pub mod advertised;
pub mod availability;
pub mod carry_out;
pub mod desired;
pub mod director_config;
pub mod drift;
pub mod exchange;
pub mod mark_index;
pub mod names;
pub mod quiescing;
pub mod reconcile;
pub mod restart;
pub mod slow_start;
pub mod start;

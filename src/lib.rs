//! ftpdirector: the director-side daemon that makes FTP work on Linux Virtual Server (IPVS).
//!
//! ```text
//! packet ─ kernel::queue ─▶ wire ─▶ ftp::stream ─▶ ftp::session ─▶ Event ─▶ steer ─┐
//!                                                                                  ├▶ State (desired) ─ diff ─▶ [Change] ─▶ kernel ─▶ verdict
//! file ─ config ─▶ services + steering ─▶ director ─▶ steer (standing rows) ───────┘        ▲ kernel::dump (actual)
//! ```
//!
//! The rooms, each using only what stands left of it; left of ‖ is pure (no clock, sockets, files, threads):
//! `time → lvs → api → wire → ftp → state → steer → keepalive → director → config → plan → health ‖ kernel → replay → doctor → client → daemon → cli → main`

pub mod api;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod director;
pub mod doctor;
pub mod ftp;
pub mod health;
pub mod keepalive;
pub mod kernel;
pub mod lvs;
pub mod plan;
pub mod replay;
pub mod state;
pub mod steer;
pub mod time;
pub mod wire;

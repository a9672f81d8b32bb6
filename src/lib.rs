//! ftpdirector: the director-side daemon that makes FTP work on Linux Virtual Server (IPVS).
//!
//! Two flows. Rows that stand as long as the configuration does:
//!
//! ```text
//! file ─ config ─▶ Config ─ plan ─▶ State (desired) ─┐
//!                           ▲                        ├─ state::diff ─▶ [Change] ─ kernel::apply ─▶ IPVS, nftables, addresses
//!   drains, health checks ──┘   kernel::read_state ──┘                                               │
//!                               State (actual) ◀─────────────────────────────────────────────────────┘
//! ```
//!
//! Real servers that stand in the file by name are in a `Config` once `resolver` knows their addresses: `config::ByName` makes it of
//! file and answers, and another answer is put in force as another file is.
//!
//! `daemon::reconcile` reads, asks `plan::reconcile` and carries out: at a start, a reload, a drain, and once a second.
//!
//! Pinholes, which stand as long as a data connection is expected:
//!
//! ```text
//! control packet ─ kernel::queue ─▶ director ─ wire ─▶ ftp::Session ─▶ Event ─▶ expectation ─ steer ─▶ RowChange
//!                                     ▲   │                                                              │
//!           verdict ◀─ kernel::queue ─┼───┘ (held until the rows stand)                                  ▼
//!                                     └────────── ticket ◀─ daemon::row_writer ─▶ kernel::nftables ─▶ nftables
//! ```
//!
//! `daemon::packets` is the thread that owns the director; all others talk to it by `daemon::messages`.
//!
//! The rooms, each using only what stands left of it; left of ‖ is pure (no clock, sockets, files, threads):
//! `time → lvs → api → wire → ftp → state → steer → keepalive → director → explain → config → import → plan → health → page ‖ files → kernel → resolver →
//! replay → doctor → client | daemon → cli → main`. `client` runs in the command line and never in the daemon; neither uses the other.
//! `tests/layering.rs` holds all of this, and that no two files need each other.
//!
//! Rooms are private, so that the compiler tells of what nobody uses; [`facade`] is what `main.rs`, the benchmarks, the tests
//! and the fuzzer see.
//!
//! Why it works, and every row in the kernel: `docs/design.md`; the kernel's quirks: `docs/kernel-facts.md`; how to change it:
//! `CONTRIBUTING.md`.

mod api;
mod cli;
mod client;
mod config;
mod daemon;
mod director;
mod doctor;
mod explain;
mod files;
mod ftp;
mod health;
mod import;
mod keepalive;
mod kernel;
mod lvs;
mod page;
mod plan;
mod replay;
mod resolver;
mod state;
mod steer;
mod time;
mod wire;

/// What is used from outside of this library, room by room.
pub mod facade {
    /// The command line: arguments and options.
    pub mod cli {
        pub use crate::cli::{CONFIG_FILE, Cli, Command, File, Listing, Shown, Subject, Wanted};
    }

    /// The configurations of other programs.
    pub mod import {
        pub use crate::client::import::run;
        pub use crate::config::{Format, by_sight};
        pub use crate::import::{ImportError, Imported, Include, Source, import};
    }

    /// The other end of the admin socket.
    pub mod client {
        pub use crate::client::request::{Ask, ClientError, Wanted};
        pub use crate::client::{Format, run};

        /// `ftpdirector top`: `status` again and again, as a page.
        pub mod top {
            pub use crate::client::top::{TopOptions, run};
        }
    }

    /// The configuration file: YAML text in, a checked `Config` or every problem out.
    pub mod config {
        pub use crate::config::{
            ByName, Cluster, Config, DEFAULT_SOCKET, IncludePattern, Included, Log, LogFormat, LogLevel, Parsed,
            Problem, SCHEMA, ServerByName, Unread, effective, includes, parse, parse_bytes, parse_files,
        };
    }

    /// The daemon, and what the kernel is asked without it.
    pub mod daemon {
        pub use crate::daemon::health::{Health, ServerAgent, ServerHealth};
        pub use crate::daemon::named_files::unusable;
        pub use crate::daemon::{DaemonCommand, Flushed, METRICS, Metric, OnExit, Reconciler, RunError, flush, run};
        pub use crate::plan::availability::Availability;
        pub use crate::plan::reconcile::Plan;
    }

    /// The pure core: packets in, verdicts and row changes out.
    pub mod director {
        pub use crate::director::{
            Action, ClusterSetup, ControlPacket, Decision, Director, Filter, Hook, Policies, SessionLimits, Setup,
        };
    }

    /// The examination of a machine.
    pub mod doctor {
        pub use crate::doctor::{examine, gather};
    }

    /// The configuration on disk, with the files that it includes.
    pub mod files {
        pub use crate::files::{FileError, read};
    }

    /// The inspector: what the bytes of a control connection mean.
    pub mod ftp {
        pub use crate::ftp::{
            BlindReason, Bounce, Context, Direction, Event, Flags, Policy, Replies, Segment, Session, Syn, Told,
            Verdict,
        };
    }

    /// What health checks find.
    pub mod health {
        pub use crate::health::{HealthState, Step};
    }

    /// The readers of what the kernel sends.
    pub mod kernel {
        pub use crate::kernel::log::parse as parse_log;
        pub use crate::kernel::nftables::{parse_counters, parse_elements};
        pub use crate::kernel::queue::parse as parse_queue;
    }

    /// The nouns of Linux Virtual Server.
    pub mod lvs {
        pub use crate::lvs::{ForwardingMethod, PortRange, network};
    }

    /// The inspector on captures.
    pub mod replay {
        pub use crate::replay::{ReplayError, ReplayOptions, ReportFormat, run};
    }

    /// What the names in the configuration stand for.
    pub mod resolver {
        pub use crate::resolver::{all, resolve};
    }

    /// The rows in the kernel as values.
    pub mod state {
        pub use crate::state::Marks;

        /// The table of sets, with their keys, values and kinds.
        pub mod sets {
            pub use crate::state::sets::{Key, Name, Set, Value};
        }
    }

    /// Ways to steer a data connection.
    pub mod steer {
        pub use crate::steer::{Placement, Row, RowChange};
    }

    /// Time as the pure rooms have it.
    pub mod time {
        pub use crate::time::Time;
    }

    /// IP and TCP headers.
    pub mod wire {
        pub use crate::wire::Packet;

        /// The TCP checksum and its incremental update.
        pub mod checksum {
            pub use crate::wire::checksum::{add, pseudo_header, sum};
        }
    }
}

//! Every metric: its name, its labels, its help.

use prometheus::core::Collector;
use prometheus::{Error, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// A metric as it is registered, and as the manual page describes it.
pub struct Metric {
    /// The name with its prefix, `ftpdirector_…`.
    pub name: &'static str,
    /// The names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// The text of the `# HELP` line.
    pub help: &'static str,
}

/// A constant for each row, and all of them in [`METRICS`].
macro_rules! metrics {
    ($($row:ident = $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $row: Metric = Metric { name: $name, labels: &[$($label),*], help: $help };)+

        /// Every metric but those of the process.
        pub const METRICS: &[Metric] = &[$($row),+];
    };
}

metrics! {
    SESSIONS = "ftpdirector_sessions" ["cluster", "server"] "Control connections that the daemon follows at present.";
    CONTROL_CONNECTIONS = "ftpdirector_control_connections_total" ["cluster", "server"]
        "Control connections that this process saw for the first time.";
    COMMANDS = "ftpdirector_commands_total" ["cluster", "verb"] "FTP commands read.";
    EXPECTATIONS = "ftpdirector_expectations_total" ["cluster", "mode", "result"]
        "Data connections that were expected, by result.";
    DATA_CONNECTIONS = "ftpdirector_data_connections_total" ["cluster", "server", "result"]
        "First packets of data connections, counted in the kernel by the server that they really went to.";
    UNEXPECTED_DATA = "ftpdirector_unexpected_data_total" ["cluster"]
        "First packets of data connections that no session expected.";
    TRANSFERS = "ftpdirector_transfers_total" ["cluster", "server", "verb", "mode", "outcome"]
        "Transfers by outcome, which is that of the server's final reply and counted with it (NAT). unknown: no final reply was seen or could be told from others. In DR and TUN all are, counted when the verb is read: see ftpdirector_expectations_total and ftpdirector_data_connections_total. Under TLS no verb can be read.";
    TRANSFER_SECONDS = "ftpdirector_transfer_seconds" ["cluster"]
        "From the first packet of a data connection to the server's final reply, where both are seen (NAT, without TLS) and the reply is not 425.";
    TRANSFERS_UNLOGGED = "ftpdirector_transfers_unlogged_total" []
        "Lines of log.transfers that were lost: whoever reads them is too slow, or the disk is full.";
    REPLIES_REWRITTEN = "ftpdirector_replies_rewritten_total" ["cluster"]
        "Replies whose address or port was rewritten.";
    UNPARSED = "ftpdirector_unparsed_total" ["cluster", "reason"] "Lines that were passed on without being understood; SYNs with data (syn_data), dropped.";
    BLIND_SESSIONS = "ftpdirector_blind_sessions_total" ["cluster", "reason"]
        "Sessions whose control connection could no longer be read (memory: up to the next line).";
    LIMITED = "ftpdirector_limited_total" ["cluster", "limit"]
        "Over one of `limits`: control packets dropped (connection_packets, client_packets, and SYNs: client_connections; TCP repeats them) or passed unread (client_sessions), sessions that lost what was kept for them (memory), silent control connections that were not kept since too many were (idle); packets that passed because a limit had no place left to count them (full).";
    FRAGMENTS_DROPPED = "ftpdirector_fragments_dropped_total" ["cluster"]
        "Fragments to a control port: dropped, since they cannot be read.";
    LANDINGS_LOGGED = "ftpdirector_landings_logged_total" []
        "First packets of data connections that the kernel reported to the daemon; of many to one port it reports only some.";
    REPLIES_LOGGED = "ftpdirector_replies_logged_total" []
        "Replies (NAT) that nothing had to be done with: they went on at once, and the kernel reported them to the daemon.";
    VERDICT_SECONDS = "ftpdirector_verdict_seconds" []
        "From a control packet's arrival in the daemon to its verdict, the kernel's acknowledgement of its rows included.";
    QUEUE_DROPPED = "ftpdirector_queue_dropped_total" ["queue"]
        "Control packets that the kernel dropped because the queue or its socket was full.";
    PINHOLES = "ftpdirector_pinholes" [] "Pinholes of this process that are in the kernel at present.";
    HELD_PACKETS = "ftpdirector_held_packets" [] "Control packets that are held until a row is in the kernel or the rest of their line has come.";
    KEPT_BYTES = "ftpdirector_kept_bytes" []
        "What is held and kept beside the sessions: packets that wait, beginnings of lines, edits. limits.memory bounds all but rewritten packets that wait for a row.";
    HELD_DROPPED = "ftpdirector_held_dropped_total" [] "Held control packets that were dropped; TCP repeats them.";
    DOORS_FULL = "ftpdirector_doors_full_total" []
        "PASV and EPSV whose pinhole found no room in open4, open6 or their tunnel counterparts: the data connections were not expected.";
    LATE_VERDICTS = "ftpdirector_late_verdicts_total" []
        "Verdicts for packets that the kernel had already dropped, because their interface or a base chain was removed.";
    LOG_OVERRUNS = "ftpdirector_log_overruns_total" []
        "Times that the kernel's log of landed data connections or of replies overflowed: some data connections then count as expired, and transfers as unfinished.";
    ROWS_FAILED = "ftpdirector_rows_failed_total" [] "Pinholes that the kernel refused.";
    OVER_LIMIT = "ftpdirector_over_limit_total" [] "Control packets passed unread: limits.sessions was reached.";
    UNREADABLE_PACKETS = "ftpdirector_unreadable_packets_total" []
        "Queued packets that are not complete TCP segments, or have a wrong checksum.";
    SERVER_UP = "ftpdirector_server_up" ["cluster", "server"]
        "1, or 0 while the server is down by its health checks or its agent. Absent without both.";
    SERVER_WEIGHT = "ftpdirector_server_weight" ["cluster", "server"]
        "The weight in the control services: the configured one, less during a slow start or as the agent asks, or 0 (drained, or down).";
    SERVER_FULL = "ftpdirector_server_full" ["cluster", "server"]
        "1 while the server has max_sessions of a VIP and port, and takes no new ones there. Absent without max_sessions.";
    AGENT_ANSWERS = "ftpdirector_agent_answers" ["cluster", "server"]
        "1, or 0 if the server's agent did not answer the last time: what it said before goes on. Absent without health_check.agent.";
    AGENT_UNKNOWN = "ftpdirector_agent_unknown_words_total" ["cluster", "server"]
        "Words of the server's agent that mean nothing here, and were ignored.";
    HEALTH_CHECK_SECONDS = "ftpdirector_health_check_seconds" ["cluster", "server", "step"]
        "Duration of each step of the last health check; a failed step is the last one.";
    CERTIFICATE_EXPIRY = "ftpdirector_server_certificate_expiry_seconds" ["cluster", "server"]
        "When the certificate that the server showed to the health checks last ends, seconds since the epoch. Absent without TLS.";
    FILE_UNREADABLE = "ftpdirector_health_check_file_unreadable" ["cluster", "server"]
        "1 while health_check.password_file or ca_file cannot be read: the server is greeted, and no more.";
    NAME_RESOLVED = "ftpdirector_server_name_resolved" ["cluster", "server"]
        "1, or 0 if the last look-up of the server's name gave no address that can be used: the last address goes on; without one the server is left out. Absent where the file has the address.";
    NAME_FAILURES = "ftpdirector_server_name_failures_total" ["cluster", "server"]
        "Look-ups of the server's name that gave no address. Absent where the file has the address.";
    IPVS_CONNECTIONS = "ftpdirector_ipvs_connections_total" ["cluster", "server", "connection"]
        "Connections that IPVS scheduled.";
    IPVS_BYTES = "ftpdirector_ipvs_bytes_total" ["cluster", "server", "connection", "direction"]
        "Bytes that IPVS forwarded, IP headers included; out (from the real server) in NAT only.";
    IPVS_PACKETS = "ftpdirector_ipvs_packets_total" ["cluster", "server", "connection", "direction"]
        "Packets that IPVS forwarded; out (from the real server) in NAT only.";
    REFRESHED = "ftpdirector_refreshed_total" ["cluster"]
        "Keepalives sent for silent control connections: those with a live data connection, and those that `idle` keeps.";
    CONFIG_RELOAD_SUCCESS = "ftpdirector_config_reload_success" []
        "1 if the last reload was good, 0 if the old configuration went on.";
    CONFIG_RELOAD_TIMESTAMP = "ftpdirector_config_reload_timestamp_seconds" []
        "When the configuration in force was read, seconds since the epoch.";
    CONFIG_INFO = "ftpdirector_config_info" ["hash"]
        "1, labelled with a hash of the clusters in the file that is in force: the directors of a pair have the same.";
    DOCTOR_FINDINGS = "ftpdirector_doctor_findings" ["severity"]
        "What `ftpdirector doctor` finds on this machine, by severity; unknown: could not be read. Looked at a minute after the start and every five minutes.";
    KERNEL_DRIFT = "ftpdirector_kernel_drift_total" [] "Rows that were missing or changed by another program, and put right.";
    BUILD_INFO = "ftpdirector_build_info" ["version"] "1, labelled with the version.";
}

/// For one scrape; no series yet.
///
/// # Errors
/// When a name or label is not valid: a bug.
impl Metric {
    pub(super) fn counters(&self, to: &Registry) -> Result<IntCounterVec, Error> {
        registered(to, IntCounterVec::new(Opts::new(self.name, self.help), self.labels))
    }

    pub(super) fn gauges(&self, to: &Registry) -> Result<IntGaugeVec, Error> {
        registered(to, IntGaugeVec::new(Opts::new(self.name, self.help), self.labels))
    }

    pub(super) fn seconds(&self, to: &Registry) -> Result<GaugeVec, Error> {
        registered(to, GaugeVec::new(Opts::new(self.name, self.help), self.labels))
    }
}

fn registered<T: Collector + Clone + 'static>(to: &Registry, made: Result<T, Error>) -> Result<T, Error> {
    let made = made?;
    to.register(Box::new(made.clone()))?;
    Ok(made)
}

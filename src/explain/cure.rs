//! What to do about each verdict.

use std::net::IpAddr;

use super::attempt::Refusal;
use super::case::Case;
use super::verdict::Verdict;
use crate::ftp::RefuseReason;
use crate::lvs::network;

/// What to do; `None`: nothing.
pub fn of(verdict: &Verdict, case: &Case<'_>) -> Option<String> {
    let cure = match verdict {
        Verdict::NoFailure
        | Verdict::NothingAsked
        | Verdict::Fine { .. }
        | Verdict::Waiting { .. }
        | Verdict::Running => return None,
        Verdict::OtherAddress { from, .. } => return Some(other_address(*from, case)),
        Verdict::NoSyn { .. } => return Some(case.no_syn()),
        Verdict::TooLate { .. } => {
            let (cluster, timeout) = (case.cluster(), case.timeout());
            return Some(format!(
                "pinhole_timeout of cluster {cluster} is {timeout}: make it longer than the client or the server takes"
            ));
        }
        Verdict::OverLimit { limit } => {
            return Some(format!("raise limits.{limit}, if so many are meant to come from {}", case.address));
        }
        Verdict::OtherActivePort { port } => {
            return Some(format!(
                "let the server call from its control port − 1 (vsftpd: connect_from_port_20=YES), or declare where it calls \
                 from: active_port: {port}, or active_ports for many"
            ));
        }
        Verdict::ServerRefused { refusal } => refused(refusal),
        Verdict::Bounce { reason, .. } => bounced(*reason),
        Verdict::NeverSeen => {
            "look for its SYN on this machine (tcpdump -ni any 'tcp port 21'); ftpdirector status and doctor say whether the \
             VIP is here"
        }
        Verdict::NoServers => {
            "ftpdirector status shows why each server is out; ftpdirector undrain CLUSTER/SERVER ends a drain"
        }
        Verdict::Landed => {
            "the server's own log says whether the transfer succeeded; if the client hangs nevertheless, look at the way back \
             from the server to the client"
        }
        Verdict::NotRewritten => "pad the text of the server's 227, so that there is room; or let the client use EPSV",
        Verdict::PortsTaken => {
            return Some(format!(
                "a client that tries again gets the first port that is free; a larger range holds more of one address at a time \
                 ({} of cluster {})",
                case.ranges_key(),
                case.cluster()
            ));
        }
        Verdict::NoReply { .. } => "look at the server: its log, and whether it still answers others",
        Verdict::WrongPort { .. } => {
            "something on the way rewrites FTP (a NAT router's FTP helper, a firewall): turn that off, or let the client use TLS"
        }
        Verdict::OutOfRange { .. } => {
            "make the server's own range and passive_ports the same (vsftpd: pasv_min_port, pasv_max_port)"
        }
        Verdict::NotUnderstood { .. } => {
            "the client's software is wrong, or something on the way changes what it says; passive mode may work"
        }
        Verdict::NoCall { .. } => {
            "look at the server: its default route must lead to the director, and active mode must be allowed there and in \
             its firewall"
        }
        Verdict::NoAnswer { .. } | Verdict::NoCallOrAnswer { .. } => {
            "a firewall or NAT router before the client does not let the server's call in: let the client use passive mode, or \
             open that firewall"
        }
        Verdict::ServerDown { .. } => {
            "ftpdirector status shows its last health check; the client's next session goes to another server"
        }
        Verdict::Reset { .. } => {
            "nothing listens there on the server, or its own firewall refuses it: compare its passive range with that firewall \
             (ss -ltn, nft list ruleset)"
        }
        Verdict::BrokeOff { .. } => {
            "the client or the server ended it, or nothing passed for too long: look at the server's log and time limits \
             (vsftpd: data_connection_timeout), and at the MTU of the way"
        }
        Verdict::Encrypted { .. } if case.has_public_ports() => {
            "passive transfers fail: a client under TLS cannot be told one of the public ports. Let TLS clients come to a cluster without \
             passive.public_ports, at another control port or VIP"
        }
        Verdict::Encrypted { .. } => {
            "if the client hangs after PASV: the server must name the VIP itself (vsftpd: pasv_address), since nobody can \
             rewrite it; if it reports that TLS session reuse is required: require_ssl_reuse=NO (vsftpd), or a client that \
             resumes"
        }
        Verdict::Unreadable { .. } => {
            "the client sends what is no FTP, or packets are lost on the way: ftpdirector trace --client shows it live"
        }
    };
    Some(cure.into())
}

fn bounced(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::ThirdParty => {
            "the client is behind NAT and names its private address: let it use passive mode; for transfers between two \
             servers: bounce: allow and client_match: any"
        }
        RefuseReason::EpsvAll => "the client's software is wrong (RFC 2428, section 4)",
        RefuseReason::Family | RefuseReason::LowPort | RefuseReason::Impossible => {
            "let the client use passive mode (EPSV)"
        }
    }
}

fn other_address(from: IpAddr, case: &Case<'_>) -> String {
    let (client, cluster) = (case.address, case.cluster());
    let lengths: &[u8] = if client.is_ipv4() { &[24, 16] } else { &[64, 48] };
    let same =
        |length: &&u8| from.is_ipv4() == client.is_ipv4() && network(from, **length) == network(client, **length);
    let wide = lengths.iter().find(same).map_or_else(|| "any".to_owned(), |length| format!("/{length}"));
    format!(
        "if {from} is this client's (a forged SYN looks the same): client_match: {wide} in cluster {cluster} lets both in (every \
         server needs a passive range of its own); or give the client one address"
    )
}

fn refused(refusal: &Refusal) -> &'static str {
    match refusal.code {
        421 => "the server has no place for this client at the moment (vsftpd: max_clients, max_per_ip)",
        425 => {
            "the server has no data connection to use: the client gave neither PORT nor PASV before, or has used it already"
        }
        500 | 501 | 504 => "the server does not take this command: let the client use another mode (EPSV, PASV)",
        522 => {
            "the server demands TLS session reuse, or another protocol: require_ssl_reuse=NO (vsftpd), or another client"
        }
        530 => "the login was refused: look at the server's log",
        450 | 550 | 553 => "a matter of files and permissions on the server: its log says more",
        _ => "look at the server's log",
    }
}

use std::io::Cursor;
use std::time::Duration;

use neli::{FromBytesWithInput, ToBytes};

use super::*;
use crate::lvs::{FirewallMark, ForwardingMethod, Thresholds, Traffic};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn bytes(attributes: &Attributes) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    attributes.to_bytes(&mut out).unwrap();
    out.into_inner()
}

fn attributes(bytes: &[u8]) -> Attributes {
    Attributes::from_bytes_with_input(&mut Cursor::new(bytes), bytes.len()).unwrap()
}

fn vip() -> ServiceKey {
    ServiceKey::Tcp("192.0.2.10:21".parse().unwrap())
}

fn mark6() -> ServiceKey {
    ServiceKey::Mark { mark: FirewallMark(0x0f70_0001), ipv6: true }
}

fn persistent() -> VirtualService {
    VirtualService { key: vip(), scheduler: "wlc".to_owned(), persistence: Some(Duration::from_secs(300)) }
}

fn nat() -> Destination {
    let address = "10.0.0.11:21".parse().unwrap();
    Destination { address, forwarding: ForwardingMethod::Nat, weight: 5, thresholds: Thresholds::NONE }
}

const VIP: &str = "06000100 02000000 06000200 06000000 14000300 c000020a 000000000000000000000000 06000400 00150000";

/// `strace -e sendmsg -xx ipvsadm -A -t 192.0.2.10:21 -s wlc -p 300` (ipvsadm 1.31).
#[test]
fn a_persistent_service_is_written_as_ipvsadm_writes_it() {
    let rest = "08000600 776c6300 0c000700 01000000 ffffffff 08000800 2c010000 08000900 ffffffff";
    assert_eq!(bytes(&wire::service(&persistent())), hex(&format!("54000180 {VIP} {rest}")));
}

/// `strace -e sendmsg -xx ipvsadm -A -f 258998273 -6 -s rr` (ipvsadm 1.31).
#[test]
fn a_mark_service_is_written_as_ipvsadm_writes_it() {
    let service = VirtualService { key: mark6(), scheduler: "rr".to_owned(), persistence: None };
    let want = "38000180 06000100 0a000000 08000500 0100700f 07000600 72720000
                0c000700 00000000 ffffffff 08000800 00000000 08000900 80000000";
    assert_eq!(bytes(&wire::service(&service)), hex(want));
}

/// `strace -e sendmsg -xx ipvsadm -a -t 192.0.2.10:21 -r 10.0.0.11:21 -m -w 5` (ipvsadm 1.31), without what the
/// kernel does not read: the tunnel's type, and of the service all but its key.
#[test]
fn a_destination_is_written_as_ipvsadm_writes_it() {
    let want = "48000280 06000b00 02000000 14000100 0a00000b 000000000000000000000000 06000200 00150000
                08000300 00000000 08000400 05000000 08000500 00000000 08000600 00000000";
    assert_eq!(bytes(&wire::destination(&vip(), &nat())), hex(&format!("30000180 {VIP} {want}")));
}

/// As above, with `-x 100 -y 100`.
#[test]
fn thresholds_are_written_as_ipvsadm_writes_them() {
    let limited = Destination { thresholds: Thresholds::at(100), ..nat() };
    let want = "48000280 06000b00 02000000 14000100 0a00000b 000000000000000000000000 06000200 00150000
                08000300 00000000 08000400 05000000 08000500 64000000 08000600 64000000";
    assert_eq!(bytes(&wire::destination(&vip(), &limited)), hex(&format!("30000180 {VIP} {want}")));
    let words = "ipvsadm -e -t 192.0.2.10:21 -r 10.0.0.11:21 -m -w 5 -x 100 -y 100";
    assert_eq!(limited.ipvsadm('e', &vip()), words);
}

#[test]
fn a_service_that_was_written_can_be_read() {
    let listed = wire::parse_service(&wire::service(&persistent())).unwrap();
    assert_eq!(listed.service, persistent());
    assert_eq!((listed.flags, listed.netmask), (1, 32));
    let service = VirtualService { key: mark6(), scheduler: "rr".to_owned(), persistence: None };
    let listed = wire::parse_service(&wire::service(&service)).unwrap();
    assert_eq!((listed.service, listed.netmask), (service, 128));
}

#[test]
fn half_a_second_of_persistence_is_not_none() {
    assert_eq!(wire::seconds(Duration::from_millis(1)), 1);
    assert_eq!(wire::seconds(Duration::ZERO), 0);
}

/// Linux 6.12 on `ipvsadm -a -f 258998273 -6 -r [fd00::11]:0 -g -w 1`; connections, thresholds and the 64 bit counters
/// filled in by hand.
#[test]
fn a_listed_destination_has_its_counters() {
    let reply = "50010200 14000100 fd0000000000000000000000 00000011 06000200 00000000 08000300 03000000
        08000400 01000000 05000d00 00000000 06000e00 00000000 06000f00 00000000 08000500 0c000000 08000600 0a000000
        08000700 02000000 08000800 03000000 08000900 04000000 06000b00 0a000000 5c000a00 08000100 00000000
        08000200 00000000 08000300 00000000 0c000400 0000000000000000 0c000500 0000000000000000 08000600 00000000
        08000700 00000000 08000800 00000000 08000900 00000000 08000a00 00000000 7c000c00 0c000100 0700000000000000
        0c000200 0800000000000000 0c000300 0900000000000000 0c000400 0000000001000000 0c000500 0b00000000000000
        0c000600 0000000000000000 0c000700 0000000000000000 0c000800 0000000000000000 0c000900 0000000000000000
        0c000a00 0000000000000000";
    let want = ListedDestination {
        destination: Destination {
            address: "[fd00::11]:0".parse().unwrap(),
            forwarding: ForwardingMethod::Dr,
            weight: 1,
            thresholds: Thresholds { upper: 12, lower: 10 },
        },
        local: false,
        active: 2,
        inactive: 3,
        persistent: 4,
        traffic: Traffic { connections: 7, packets_in: 8, packets_out: 9, bytes_in: 1 << 32, bytes_out: 11 },
    };
    assert_eq!(wire::parse_destination(&mark6(), &attributes(&hex(reply))), Some(want.clone()));
    for (active, inactive, upper, full) in [(2, 3, 12, false), (9, 3, 12, true), (0, 13, 12, true), (9, 3, 0, false)] {
        let destination = Destination { thresholds: Thresholds { upper, lower: 0 }, ..want.destination.clone() };
        let listed = ListedDestination { destination, active, inactive, ..want.clone() };
        assert_eq!(listed.is_full(), full, "{active} + {inactive} of {upper}");
    }
}

#[test]
fn errors_speak_ipvsadm() {
    assert_eq!(persistent().ipvsadm('A'), "ipvsadm -A -t 192.0.2.10:21 -s wlc -p 300");
    assert_eq!(nat().ipvsadm('a', &mark6()), "ipvsadm -a -f 258998273 -6 -r 10.0.0.11:21 -m -w 5");
    let error = KernelError::refused(persistent().ipvsadm('A'), Errno::EEXIST, None);
    assert_eq!(error.to_string(), "ipvsadm -A -t 192.0.2.10:21 -s wlc -p 300: EEXIST (File exists)");
    assert_eq!(scheduler_cure(Errno::ENOENT, &persistent()).as_deref(), Some("no scheduler 'wlc': modprobe ip_vs_wlc"));
}

/// What the kernel (6.12) answers to `ipvsadm -l --daemon` after
/// `ipvsadm --start-daemon backup --mcast-interface eth1 --syncid 21`.
#[test]
fn a_sync_daemon_is_read() {
    let of_kernel = "40000300 08000100 02000000 09000200 65746831 00000000 08000300 15000000
                     06000400 c0050000 06000700 90220000 05000800 01000000 08000500 e0000051";
    let daemon = wire::parse_sync_daemon(&attributes(&hex(of_kernel))).unwrap();
    assert_eq!(daemon, SyncDaemon { role: SyncRole::Backup, interface: "eth1".to_owned(), id: 21 });
    assert_eq!(daemon.to_string(), "backup sync daemon (mcast=eth1, syncid=21)");
    assert_eq!(wire::parse_sync_daemon(&attributes(&hex(&of_kernel.replacen("02000000", "07000000", 1)))), None);
}

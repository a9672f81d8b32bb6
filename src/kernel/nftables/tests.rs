use crate::kernel::abi::nfnetlink::NLM_F_EXCL;
use std::net::IpAddr;
use std::time::Duration;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn ip(last: u8) -> Part {
    Part::Ip(IpAddr::from([10, 0, 0, last]))
}

fn exact() -> NftElement {
    NftElement {
        set: "exact4",
        key: key(&[ip(1), ip(100), Part::Port(31005)]),
        data: Some(Data::Mark(0x0f70_0001)),
        timeout: Some(Duration::from_secs(30)),
    }
}

#[test]
fn fields_of_a_concatenation_are_padded_and_a_lone_field_is_not() {
    assert_eq!(key(&[ip(1), Part::Port(21)]), [10, 0, 0, 1, 0, 21, 0, 0]);
    assert_eq!(key(&[Part::Port(21)]), [0, 21]);
    assert_eq!(key(&[Part::Port(21), Part::Mark(1)])[4..], 1u32.to_ne_bytes());
    assert_eq!(key(&[Part::Ip(IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1])), Part::Port(1)]).len(), 20);
}

/// `strace -e sendmsg -xx nft create element inet ftpdirector exact4 { 10.0.0.1 . 10.0.0.100 . 31005 timeout 30s :
/// 0x0f700001 }` (nft 1.0.6), except that nft writes the timeout first and adds SET_ID; neither has a meaning here.
#[test]
fn an_element_is_written_as_nft_writes_it() {
    let mut out = Writer::default();
    wire::add(&mut out, 1, NLM_F_EXCL, &exact());
    let head = hex(
        "64000000 0c0a 0106 01000000 00000000 01000000 10000100 6674706469726563746f7200 0b000200 657861637434 0000",
    );
    let body = hex("34000380 30000180
         14000180 10000100 0a000001 0a000064 791d0000
         0c000280 08000100 0100700f
         0c000400 0000000000007530");
    assert_eq!(out.as_bytes(), [head, body].concat());
}

/// `strace -e sendmsg -xx nft delete element inet ftpdirector exact4 { 10.0.0.1 . 10.0.0.100 . 31005 }` (nft 1.0.6).
#[test]
fn a_deletion_is_written_as_nft_writes_it() {
    let mut out = Writer::default();
    wire::batch_begin(&mut out, 0);
    wire::remove(&mut out, (wire::Removal::Delete, 0, 1), "exact4", &exact().key);
    wire::batch_end(&mut out, 2);
    let begin = hex("14000000 1000 0100 00000000 00000000 0000000a");
    let head = hex(
        "4c000000 0e0a 0100 01000000 00000000 01000000 10000100 6674706469726563746f7200 0b000200 657861637434 0000",
    );
    let body = hex("1c000380 18000180 14000180 10000100 0a000001 0a000064 791d0000");
    let end = hex("14000000 1100 0100 02000000 00000000 0000000a");
    assert_eq!(out.as_bytes(), [begin, head, body, end].concat());
}

/// Linux 6.18 on `map ranges4 { type ipv4_addr . inet_service : mark; flags interval; counter; elements = {
/// 10.0.0.100 . 31000-31099 counter packets 3 bytes 180 : 0x0f730001 } }`.
#[test]
fn a_listed_range_has_both_ends_its_mark_and_its_counter() {
    let datagram = hex(RANGES);
    let want = Element {
        key: key(&[ip(100), Part::Port(31000)]),
        key_end: Some(key(&[ip(100), Part::Port(31099)])),
        data: Some(0x0f73_0001_u32.to_le_bytes().to_vec()),
        packets: 3,
        bytes: 180,
        ..Element::default()
    };
    assert_eq!(parse_elements(&datagram), [want]);
}

/// Linux 6.18 on `set open4 { type ipv4_addr . mark; flags timeout,dynamic; size 65536; elements = { 10.0.0.1 .
/// 0x0f730001 timeout 10s expires 5s } }`.
#[test]
fn a_listed_element_tells_how_long_it_lives() {
    let want = Element {
        key: hex("0a000001 0100730f"),
        timeout: Some(Duration::from_secs(10)),
        expires: Some(Duration::from_secs(5)),
        ..Element::default()
    };
    assert_eq!(parse_elements(&hex(OPEN)), [want]);
}

/// Linux 6.18 on `counter landed { packets 5 bytes 600 }`.
#[test]
fn a_listed_counter_has_its_numbers() {
    assert_eq!(parse_counters(&hex(LANDED)), [Counter { name: "landed".to_owned(), packets: 5, bytes: 600 }]);
}

#[test]
fn damaged_listings_do_not_panic() {
    for sample in [RANGES, OPEN, LANDED] {
        let whole = hex(sample);
        for cut in 0..whole.len() {
            let _ = (parse_elements(&whole[..cut]), parse_counters(&whole[..cut]));
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = (parse_elements(&damaged), parse_counters(&damaged));
            }
        }
    }
}

const RANGES: &str = "900000000c0a020001000000d2050000010000021000010066747064697265
    63746f72000c00020072616e6765733400600003005c000100100001000c0001000a0000647918000010000a000c0001000a000064797b00
    000c000200080001000100730f2c0007000c000100636f756e746572001c0002000c00010000000000000000b40c00020000000000000000
    03";
const OPEN: &str =
    "600000000c0a020001000000d205000001000002100001006674706469726563746f72000a0002006f70656e34000000300003
    002c000100100001000c0001000a0000010100730f0c00040000000000000027100c0005000000000000001388";
const LANDED: &str =
    "68000000120a020801000000d205000001000002100001006674706469726563746f72000b0002006c616e646564000008000
    300000000010c000600000000000000000108000500000000001c0004000c00010000000000000002580c0002000000000000000005";

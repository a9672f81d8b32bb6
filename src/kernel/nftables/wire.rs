//! Elements and counters as the bytes of nf_tables.

use std::time::Duration;

use super::row::{Counter, Data, Element, NftElement, TABLE};
use crate::kernel::abi::nf_tables::{
    NFT_MSG_DELSETELEM, NFT_MSG_DESTROYSETELEM, NFT_MSG_GETOBJ, NFT_MSG_GETSETELEM, NFT_MSG_NEWOBJ, NFT_MSG_NEWSETELEM,
    NFT_OBJECT_COUNTER, NFT_SET_ELEM_INTERVAL_END, NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS, NFTA_DATA_VALUE,
    NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_LIST_ELEM, NFTA_OBJ_DATA, NFTA_OBJ_NAME, NFTA_OBJ_TABLE, NFTA_OBJ_TYPE,
    NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_EXPIRATION, NFTA_SET_ELEM_EXPR, NFTA_SET_ELEM_EXPRESSIONS, NFTA_SET_ELEM_FLAGS,
    NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_KEY_END, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_TIMEOUT,
};
use crate::kernel::abi::nfnetlink::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFPROTO_UNSPEC, NLM_F_CREATE,
    NLM_F_DUMP, NLM_F_REQUEST,
};
use crate::kernel::netlink::{NFGENMSG_LEN, Unclosed, Writer, attributes, be32, be64, messages, text_of};

const SUBSYS: u16 = NFNL_SUBSYS_NFTABLES << 8;

pub(super) fn batch_begin(out: &mut Writer, seq: u32) {
    batch_edge(out, NFNL_MSG_BATCH_BEGIN, seq);
}

pub(super) fn batch_end(out: &mut Writer, seq: u32) {
    batch_edge(out, NFNL_MSG_BATCH_END, seq);
}

/// The subsystem stands in `res_id`.
fn batch_edge(out: &mut Writer, kind: u16, seq: u32) {
    let open = out.begin(kind, NLM_F_REQUEST, seq);
    out.nfgenmsg(NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES);
    out.end(open);
}

/// `nft add element inet ftpdirector SET { KEY timeout T : DATA }`; with NLM_F_EXCL among the flags `nft create element`, for
/// which also the same data is EEXIST: Linux 6.1 would otherwise say yes and leave the old deadline (6.12 renews it).
pub(super) fn add(out: &mut Writer, seq: u32, flags: u16, row: &NftElement) {
    element(out, (NFT_MSG_NEWSETELEM, flags | NLM_F_CREATE, seq), row.set, |out| {
        value(out, NFTA_SET_ELEM_KEY, &row.key);
        match &row.data {
            None => {}
            Some(Data::Mark(mark)) => value(out, NFTA_SET_ELEM_DATA, &mark.to_ne_bytes()),
            Some(Data::Ipv4(ip)) => value(out, NFTA_SET_ELEM_DATA, &ip.octets()),
            Some(Data::Ipv6(ip)) => value(out, NFTA_SET_ELEM_DATA, &ip.octets()),
            Some(Data::Bytes(bytes)) => value(out, NFTA_SET_ELEM_DATA, bytes),
        }
        if let Some(timeout) = row.timeout {
            // Zero would mean for ever.
            let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
            out.attribute(NFTA_SET_ELEM_TIMEOUT, &ms.to_be_bytes());
        }
    });
}

/// How an element goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// `nft delete element`: ENOENT where it is not there.
    Delete,
    /// `nft destroy element`, since Linux 6.3: never mind.
    Destroy,
}

/// `nft delete element inet ftpdirector SET { KEY }`, or `destroy`.
pub(super) fn remove(out: &mut Writer, (removal, flags, seq): (Removal, u16, u32), set: &str, key: &[u8]) {
    let kind = match removal {
        Removal::Delete => NFT_MSG_DELSETELEM,
        Removal::Destroy => NFT_MSG_DESTROYSETELEM,
    };
    element(out, (kind, flags, seq), set, |out| value(out, NFTA_SET_ELEM_KEY, key));
}

fn element(out: &mut Writer, (kind, flags, seq): (u16, u16, u32), set: &str, fields: impl FnOnce(&mut Writer)) {
    let message = list(out, (kind, flags, seq), set);
    let elements = out.nest(NFTA_SET_ELEM_LIST_ELEMENTS);
    let one = out.nest(NFTA_LIST_ELEM);
    fields(out);
    out.end_nest(one);
    out.end_nest(elements);
    out.end(message);
}

fn list(out: &mut Writer, (kind, flags, seq): (u16, u16, u32), set: &str) -> Unclosed {
    let message = out.begin(SUBSYS | kind, NLM_F_REQUEST | flags, seq);
    out.nfgenmsg(NFPROTO_INET, 0);
    out.string(NFTA_SET_ELEM_LIST_TABLE, TABLE);
    out.string(NFTA_SET_ELEM_LIST_SET, set);
    message
}

fn value(out: &mut Writer, kind: u16, bytes: &[u8]) {
    let nest = out.nest(kind);
    out.attribute(NFTA_DATA_VALUE, bytes);
    out.end_nest(nest);
}

/// `nft list set inet ftpdirector SET`.
pub(super) fn list_elements(seq: u32, set: &str) -> Writer {
    let mut out = Writer::default();
    let message = list(&mut out, (NFT_MSG_GETSETELEM, NLM_F_DUMP, seq), set);
    out.end(message);
    out
}

/// `nft list counters table inet ftpdirector`.
pub(super) fn list_counters(seq: u32) -> Writer {
    let mut out = Writer::default();
    let message = out.begin(SUBSYS | NFT_MSG_GETOBJ, NLM_F_REQUEST | NLM_F_DUMP, seq);
    out.nfgenmsg(NFPROTO_INET, 0);
    out.string(NFTA_OBJ_TABLE, TABLE);
    out.attribute(NFTA_OBJ_TYPE, &NFT_OBJECT_COUNTER.to_be_bytes());
    out.end(message);
    out
}

/// The bodies of the messages of one type in a datagram.
fn bodies(datagram: &[u8], kind: u16) -> impl Iterator<Item = &[u8]> {
    messages(datagram)
        .filter(move |message| message.kind == SUBSYS | kind)
        .filter_map(|message| datagram.get(message.body)?.get(NFGENMSG_LEN..))
}

/// The elements in a datagram of a dump. Never panics; what is malformed is left out.
#[must_use]
pub fn parse_elements(datagram: &[u8]) -> Vec<Element> {
    bodies(datagram, NFT_MSG_NEWSETELEM)
        .flat_map(attributes)
        .filter(|(kind, _)| *kind == NFTA_SET_ELEM_LIST_ELEMENTS)
        .flat_map(|(_, list)| attributes(list))
        .map(|(_, fields)| parse_element(fields))
        .collect()
}

fn parse_element(fields: &[u8]) -> Element {
    let mut element = Element::default();
    for (kind, payload) in attributes(fields) {
        match kind {
            NFTA_SET_ELEM_KEY => element.key = data_of(payload).unwrap_or_default(),
            NFTA_SET_ELEM_KEY_END => element.key_end = data_of(payload),
            NFTA_SET_ELEM_DATA => element.data = data_of(payload),
            NFTA_SET_ELEM_FLAGS => {
                element.interval_end = be32(payload).is_some_and(|flags| flags & NFT_SET_ELEM_INTERVAL_END != 0);
            }
            NFTA_SET_ELEM_TIMEOUT => element.timeout = be64(payload).map(Duration::from_millis),
            NFTA_SET_ELEM_EXPIRATION => element.expires = be64(payload).map(Duration::from_millis),
            NFTA_SET_ELEM_EXPR => count(&mut element, payload),
            NFTA_SET_ELEM_EXPRESSIONS => attributes(payload).for_each(|(_, expr)| count(&mut element, expr)),
            _ => {}
        }
    }
    element
}

fn data_of(payload: &[u8]) -> Option<Vec<u8>> {
    attributes(payload).find(|(kind, _)| *kind == NFTA_DATA_VALUE).map(|(_, bytes)| bytes.to_vec())
}

/// Takes the numbers of a `counter` expression.
fn count(element: &mut Element, expr: &[u8]) {
    let find = |wanted| attributes(expr).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload);
    if find(NFTA_EXPR_NAME).is_some_and(|name| text_of(name) == "counter") {
        (element.packets, element.bytes) = numbers(find(NFTA_EXPR_DATA).unwrap_or_default());
    }
}

/// Packets and bytes of a counter; 0 where an attribute is missing.
fn numbers(counter: &[u8]) -> (u64, u64) {
    let find = |wanted| attributes(counter).find(|(kind, _)| *kind == wanted).and_then(|(_, payload)| be64(payload));
    (find(NFTA_COUNTER_PACKETS).unwrap_or_default(), find(NFTA_COUNTER_BYTES).unwrap_or_default())
}

/// The named counters in a datagram of a dump. Never panics; what is malformed is left out.
#[must_use]
pub fn parse_counters(datagram: &[u8]) -> Vec<Counter> {
    bodies(datagram, NFT_MSG_NEWOBJ)
        .filter_map(|fields| {
            let find = |wanted| attributes(fields).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload);
            (be32(find(NFTA_OBJ_TYPE)?)? == NFT_OBJECT_COUNTER).then_some(())?;
            let (packets, bytes) = numbers(find(NFTA_OBJ_DATA).unwrap_or_default());
            Some(Counter { name: text_of(find(NFTA_OBJ_NAME)?), packets, bytes })
        })
        .collect()
}

//! Trace events as JSON lines.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::Trace;
use crate::daemon::trace_subscribers::TraceLine;
use crate::director::What;
use crate::ftp::{Event, Source};
use crate::state::sets::Value as Field;
use crate::steer::{Row, RowChange};

/// One line of `GET /trace`.
#[must_use]
pub fn line(heard: &TraceLine) -> Trace {
    let (at, event) = match heard {
        TraceLine::Lost(count) => return lost(*count),
        TraceLine::Event { at, event } => (*at, event),
    };
    let (name, fields) = tell(&event.what);
    Trace {
        at,
        session: format!("{}>{}", event.client, event.far_end),
        cluster: event.cluster.clone(),
        server: event.server.clone(),
        event: name.to_owned(),
        fields: object(fields),
    }
}

fn lost(count: u64) -> Trace {
    let none = String::new;
    let fields = object(json!({ "count": count }));
    Trace { at: 0.0, session: none(), cluster: none(), server: none(), event: "lost".to_owned(), fields }
}

fn object(fields: Value) -> BTreeMap<String, Value> {
    match fields {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => BTreeMap::new(),
    }
}

fn tell(what: &What) -> (&'static str, Value) {
    match what {
        What::Open => ("open", json!({})),
        What::Command { verb, seq, ack } => ("command", json!({ "verb": verb.name(), "seq": seq, "ack": ack })),
        What::Reply { code, seq, ack, text } => {
            ("reply", json!({ "code": code, "seq": seq, "ack": ack, "text": text }))
        }
        What::Told(event) => tell_event(event),
        What::Row(change) => ("row", row(change)),
        What::Opened { row, timeout } => ("row", with_row("opened", row, Some(timeout.as_secs_f64()))),
        What::Stand { refused } => ("rows", json!({ "refused": refused })),
        What::Ended { mode, outcome } => (outcome.name(), json!({ "mode": mode.name() })),
        What::Refreshed => ("refreshed", json!({})),
        What::Closed => ("closed", json!({})),
    }
}

fn tell_event(event: &Event) -> (&'static str, Value) {
    match event {
        Event::ExpectActive { verb, address, source } => (
            "expect",
            json!({
                "mode": "active", "verb": verb.name(), "address": address.ip(), "port": address.port(),
                "default": matches!(source, Source::Default | Source::Earlier).then_some(true),
            }),
        ),
        Event::AskPassive { verb } => ("expect", json!({ "mode": "passive", "verb": verb.name() })),
        Event::ExpectPassive { verb, said, port, .. } => {
            ("expect", json!({ "mode": "passive", "verb": verb.name(), "said": said.to_string(), "port": port }))
        }
        Event::Transfer { verb, .. } => ("transfer", json!({ "verb": verb.name() })),
        Event::TransferOver { code } => ("transfer_over", json!({ "code": (*code > 0).then_some(code) })),
        Event::Cancel { reason } => ("cancel", json!({ "reason": reason.name() })),
        Event::Refuse { verb, reason } => ("refuse", json!({ "verb": verb.name(), "reason": reason.name() })),
        Event::Rewrite { code, from, to } => {
            ("rewrite", json!({ "code": code, "from": from.to_string(), "to": to.to_string() }))
        }
        Event::NoRoom { code } => ("no_room", json!({ "code": code })),
        Event::Blind { reason } => ("blind", json!({ "reason": reason.name() })),
        Event::Sighted => ("sighted", json!({})),
        Event::UnparsedCommand { verb, reason } => {
            ("unparsed", json!({ "verb": verb.name(), "reason": reason.name() }))
        }
        Event::UnparsedReply { code, reason } => {
            ("unparsed", json!({ "code": (*code > 0).then_some(code), "reason": reason.name() }))
        }
        Event::End => ("end", json!({})),
        Event::Command { verb } => ("command", json!({ "verb": verb.name() })),
        Event::Reply { code } => ("reply", json!({ "code": code })),
    }
}

fn row(change: &RowChange) -> Value {
    match change {
        RowChange::Put(row, timeout) => with_row("added", row, Some(timeout.as_secs_f64())),
        RowChange::Refresh(row, timeout) => with_row("refreshed", row, Some(timeout.as_secs_f64())),
        RowChange::Delete(set, key) => {
            with_row("deleted", &Row { set: *set, key: key.clone(), value: Vec::new() }, None)
        }
    }
}

fn with_row(change: &str, row: &Row, timeout: Option<f64>) -> Value {
    let value = (!row.value.is_empty()).then(|| fields(&row.value));
    json!({
        "change": change, "set": row.set.text(), "key": fields(&row.key), "value": value, "timeout_seconds": timeout,
    })
}

/// A key or value as nft writes it.
#[must_use]
pub fn fields(fields: &[Field]) -> String {
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ")
}

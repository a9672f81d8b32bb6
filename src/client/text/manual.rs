//! What the manual shows as printed by a command is what that command prints.

use serde_json::{Value, json};

use super::*;

const MANUAL: &str = include_str!("../../../deploy/man/ftpdirector.8.in");

/// One block of the manual is this text.
fn assert_shown(what: &str, text: &str) {
    assert!(MANUAL.contains(&format!(".Bd -literal\n{text}.Ed\n")), "{what} in deploy/man/ftpdirector.8.in:\n{text}");
}

fn read<T: serde::de::DeserializeOwned>(answer: Value) -> T {
    serde_json::from_value(answer).expect("an answer of the daemon")
}

fn server(name: &str, address: &str, more: Value) -> Value {
    let mut server = json!({
        "cluster": "downloads", "name": name, "address": address, "state": "up", "weight": 10, "effective_weight": 10,
        "sessions": 12, "control": { "active": 11, "inactive": 3 }, "data": { "active": 1, "inactive": 40 },
        "landed": 99, "misdirected": 0,
    });
    if let (Value::Object(server), Value::Object(more)) = (&mut server, more) {
        server.extend(more);
    }
    server
}

#[test]
fn status_is_shown() {
    let health = json!({ "state": "down", "since": 0.0, "step": "banner", "error": "the server said \"421 Busy\"", "seconds": {} });
    let down = json!({
        "state": "down", "effective_weight": 0, "sessions": 2, "control": { "active": 1, "inactive": 9 },
        "data": { "active": 0, "inactive": 12 }, "landed": 87, "health": health,
    });
    let cluster = json!({
        "name": "downloads", "vips": ["192.0.2.10"], "ports": [21], "forwarding": "nat", "scheduler": "wlc",
        "servers": [server("ftp1", "10.0.0.11", json!({})), server("ftp2", "10.0.0.12", down)],
    });
    let config = json!({ "file": "/etc/ftpdirector/config.yaml", "reload_good": true, "read_at": 0.0 });
    let answer = json!({
        "version": "1.2.3", "uptime_seconds": 90_061, "config": config, "drift": 1, "kernel_error": null, "sessions": 14,
        "pinholes": 2, "held": 0, "clusters": [cluster],
    });
    assert_shown("ftpdirector status", &status(&read(answer)));
}

#[test]
fn sessions_are_shown() {
    let expectation = json!({ "mode": "active", "port": 51210, "remaining_seconds": 7.25, "used": false });
    let answer = json!({ "total": 2, "matching": 2, "sessions": [
        { "client": "203.0.113.5:40000", "far_end": "10.0.0.11:21", "cluster": "downloads", "server": "ftp1",
          "age_seconds": 75.2, "idle_seconds": 0.2, "verb": "EPRT", "pending": true, "blind": null, "expectation": expectation },
        { "client": "203.0.113.9:50122", "far_end": "10.0.0.12:21", "cluster": "downloads", "server": "ftp2",
          "age_seconds": 242.0, "idle_seconds": 9.9, "verb": null, "pending": false, "blind": "tls", "expectation": null },
    ] });
    assert_shown("ftpdirector sessions", &sessions(&read(answer)));
}

#[test]
fn pinholes_are_shown() {
    let answer = json!({ "total": 1, "matching": 1, "pinholes": [
        { "set": "exact4", "key": "203.0.113.5 . 192.0.2.10 . 40007", "value": "0x0f700000", "cluster": "downloads", "server": "ftp1",
          "remaining_seconds": 7.25, "sessions": ["203.0.113.5:40000"] },
    ] });
    assert_shown("ftpdirector pinholes", &pinholes(&read(answer)));
}

#[test]
fn a_trace_is_shown() {
    let line = |at: f64, event: &str, more: Value| {
        let mut line = json!({
            "at": at, "session": "203.0.113.5:40000>10.0.0.11:21", "cluster": "downloads", "server": "ftp1", "event": event,
        });
        if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
            line.extend(more);
        }
        trace(&read(line)) + "\n"
    };
    let text = line(
        3723.25,
        "expect",
        json!({ "mode": "passive", "verb": "PASV", "said": "10.0.0.11:40007", "port": 40007 }),
    ) + &line(
        3723.5,
        "row",
        json!({
            "change": "added", "set": "exact4", "key": "203.0.113.5 . 192.0.2.10 . 40007", "value": "0x0f700000",
            "timeout_seconds": 30.0,
        }),
    ) + &line(3723.75, "used", json!({ "mode": "passive" }));
    assert_shown("ftpdirector trace", &text);
}

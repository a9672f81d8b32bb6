//! What is in no format that is read.

/// The largest file that is read, bytes.
pub const LARGEST: usize = 1 << 20;

/// What is wrong with bytes that are no configuration file, with the cure.
pub(super) fn unreadable(bytes: &[u8]) -> Option<String> {
    if bytes.len() > LARGEST {
        return Some(too_large());
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Some("UTF-16; save it as UTF-8".to_owned());
    }
    let control = |byte: &&u8| byte.is_ascii_control() && !matches!(**byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    if bytes.contains(&0) || bytes.iter().filter(control).count() > bytes.len() / 50 {
        return Some(
            "a binary file; import reads the text files of keepalived, ldirectord, Piranha, ipvsadm, nft and iptables"
                .to_owned(),
        );
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Some("empty".to_owned());
    }
    None
}

/// Of files that were not read to their end.
pub(super) fn too_large() -> String {
    format!("more than {LARGEST} bytes; give the part with the virtual services")
}

/// What to do with a text whose format is not known.
pub(super) fn unknown(text: &str) -> &'static str {
    let starts = |start: &str| text.lines().take(50).any(|line| line.trim_start().starts_with(start));
    if starts("IP Virtual Server version") || starts("Prot LocalAddress") {
        "the list that `ipvsadm -L` prints; `ipvsadm -S -n` writes what can be read"
    } else if starts("clusters:") {
        "a configuration of ftpdirector already; check it with `ftpdirector check`"
    } else if starts("frontend ") || starts("listen ") || starts("stream {") || starts("http {") {
        "the configuration of a proxy; how to move from one stands in /usr/share/doc/ftpdirector/examples/MIGRATING.md"
    } else {
        "in no format that import knows by sight; say which with --from keepalived, ldirectord, piranha, ipvsadm, nft or iptables"
    }
}

use super::*;

fn read(code: u16, text: &str) -> Result<(Option<String>, u16), UnparsedReason> {
    let line = format!("{code} {text}");
    match parse(code, line.as_bytes(), 4, More::No) {
        LineProgress::Done(found) => {
            if let Some((ip, at)) = &found.address {
                let said = &line[at.clone()];
                assert!(said.replace([' ', ','], ".").contains(&ip.to_string()[..1]), "{said}");
            }
            let port = &line[found.port_at.clone()];
            assert!(port.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | ' ')), "{port}");
            Ok((found.address.map(|(ip, _)| ip.to_string()), found.port))
        }
        LineProgress::Failed(reason) => Err(reason),
        other => panic!("{line}: a whole line is {other:?}"),
    }
}

#[test]
fn spellings_seen_in_the_wild() {
    use UnparsedReason::{Impossible, Malformed};
    let v4 = |ip: &str, port| Ok((Some(ip.to_owned()), port));
    let any = |port| Ok((None, port));
    for (code, text, expected) in [
        (227, "Entering Passive Mode (10,0,0,11,121,26).", v4("10.0.0.11", 31002)),
        (227, "10,0,0,11,121,26", v4("10.0.0.11", 31002)),
        (227, "=10,0,0,11,121,26", v4("10.0.0.11", 31002)),
        (227, "Passive mode OK (172,16,0,9,4,9 )", v4("172.16.0.9", 1033)),
        (227, "(10, 0, 0, 5, 195, 80)", v4("10.0.0.5", 50000)),
        (227, "FTP2 x 7 (10,0,0,5,195,80)", v4("10.0.0.5", 50000)),
        (227, "1,2,3 (10,0,0,5,195,80)", v4("10.0.0.5", 50000)),
        (227, "Entering Passive Mode (", Err(Malformed)),
        (227, "(10,0,0,5,195)", Err(Malformed)),
        (227, "(10,0,0,5,195,80,1)", Err(Malformed)),
        (227, "(256,0,0,5,195,80)", Err(Impossible)),
        (227, "(10,0,0,5,300,80)", Err(Impossible)),
        (227, "(10,0,0,5,0,0)", Err(Impossible)),
        (227, "(99999999999,0,0,5,1,1)", Err(Impossible)),
        (229, "Entering Extended Passive Mode (|||31002|)", any(31002)),
        (229, "Entering Extended Passive Mode (|||31002|).", any(31002)),
        (229, "x (!!!9447!).", any(9447)),
        (229, "x (||31002|)", any(31002)),
        (229, "x (|||1500).", any(1500)),
        (229, "x |||1500|", any(1500)),
        (229, "(Extended) Passive (|||1500|)", any(1500)),
        (229, "(|1|10.0.0.5|1500|)", v4("10.0.0.5", 1500)),
        (229, "(|2|2001:db8::5|1500|)", v4("2001:db8::5", 1500)),
        (229, "(|||65536|)", Err(Impossible)),
        (229, "(|||0|)", Err(Impossible)),
        (229, "(||||1500|)", any(1500)),
        (229, "no", Err(Malformed)),
        (228, "x (4,4,10,0,0,5,2,195,80)", v4("10.0.0.5", 50000)),
        (228, "x (6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,5,2,195,80)", v4("2001:db8::5", 50000)),
        (228, "x (4,4,10,0,0,5,2,195)", Err(Malformed)),
        (228, "(long address, port)", Err(Malformed)),
    ] {
        assert_eq!(read(code, text), expected, "{code} {text}");
    }
}

/// What is known of a beginning never turns out to be wrong.
#[test]
fn beginnings_promise_nothing_false() {
    for (code, text) in [
        (227, "227 FTP2 Entering Passive Mode (10,0,0,11,121,26)."),
        (227, "227 (10, 0, 0, 5, 195, 80)"),
        (229, "229 Entering Extended Passive Mode (|||31002|)."),
        (229, "229 (|1|10.0.0.5|1500|)"),
        (228, "228 x (4,4,10,0,0,5,2,195,80)"),
    ] {
        let whole = parse(code, text.as_bytes(), 4, More::No);
        let LineProgress::Done(found) = &whole else { panic!("{text}") };
        let address = found.address.as_ref().map(|(_, at)| at.clone());
        for cut in 4..text.len() {
            match parse(code, &text.as_bytes()[..cut], 4, More::Maybe) {
                LineProgress::Done(early) => assert_eq!(&early, found, "{text} at {cut}"),
                LineProgress::Failed(reason) => panic!("{text} at {cut}: {reason}"),
                LineProgress::Port { address: at, .. } => assert_eq!(Some(at), address, "{text} at {cut}"),
                LineProgress::Text => assert!(cut <= found.port_at.start, "{text} at {cut}"),
                LineProgress::PortOnly => assert!(address.is_none() && cut <= found.port_at.start, "{text} at {cut}"),
                LineProgress::Address { .. } | LineProgress::Unsettled => {}
            }
        }
    }
}

use super::super::passive::{LineProgress, More, parse};
use super::*;

fn spelling(line: &str) -> Spelling {
    match parse(line[..3].parse().unwrap(), line.as_bytes(), 4, More::No) {
        LineProgress::Done(found) => found,
        other => panic!("{line}: {other:?}"),
    }
}

fn rewritten(line: &str, address: Option<&str>, port: Option<&str>) -> Option<String> {
    let wanted = Wanted { address: address.map(str::as_bytes), port: port.map(str::as_bytes) };
    let out = fit(line.as_bytes(), 4, &spelling(line), wanted)?;
    assert_eq!(out.len(), line.len(), "{line}");
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn the_text_gives_and_takes_room() {
    let line = "227 Entering Passive Mode (10,0,0,11,121,26).";
    for (address, port, expected) in [
        (Some("10,0,0,12"), None, Some("227 Entering Passive Mode (10,0,0,12,121,26).")),
        (Some("10,0,0,1"), None, Some("227 Entering Passive Mode  (10,0,0,1,121,26).")),
        (Some("192,0,2,10"), None, Some("227 Entering Passive Mode(192,0,2,10,121,26).")),
        (Some("192,0,2,100"), None, Some("227 Entering PassiveMode(192,0,2,100,121,26).")),
        (Some("203,0,113,100"), None, Some("227 EnteringPassiveMod(203,0,113,100,121,26).")),
        (Some("203,100,113,100"), None, Some("227 EnteringPassiveM(203,100,113,100,121,26).")),
        (None, Some("121,2"), Some("227 Entering Passive Mode (10,0,0,11,121,2). ")),
        (None, Some("121,126"), Some("227 Entering Passive Mode (10,0,0,11,121,126)")),
        (Some("192,0,2,10"), Some("121,126"), Some("227 Entering Passive Mode(192,0,2,10,121,126)")),
    ] {
        assert_eq!(rewritten(line, address, port).as_deref(), expected);
    }
    assert_eq!(rewritten("227 (10,0,0,11,4,1)", Some("192,0,2,10"), None).as_deref(), Some("227 (192,0,2,10,4,1"));
    assert_eq!(rewritten("227(10,0,0,11,4,1 )", Some("192,0,2,100"), None).as_deref(), Some("227(192,0,2,100,4,1"));
    assert_eq!(rewritten("227 (10,0,0,11,4,1)", Some("192,0,2,100"), None), None);
    assert_eq!(rewritten("227 (10,0,0,11,4,1)", None, Some("40,1")).as_deref(), Some("227 (10,0,0,11,40,1"));
    assert_eq!(rewritten("227 (10,0,0,11,4,1)", Some("192,0,2,10"), Some("40,1")), None);
    assert_eq!(rewritten("229 x (|||1025|)", None, Some("31002")), None);
    assert_eq!(rewritten("227 (10,0,0,11,4,1 )", None, Some("40,1")).as_deref(), Some("227 (10,0,0,11,40,1)"));
    assert_eq!(rewritten("227 (10,0,0,11,4,1).", Some("192,0,2,10"), None).as_deref(), Some("227 (192,0,2,10,4,1)"));
    assert_eq!(rewritten("229 x (|||1025|).", None, Some("31002")).as_deref(), Some("229 x (|||31002|)"));
    assert_eq!(rewritten("229 x (|||31002|)", None, Some("1025")).as_deref(), Some("229 x (|||1025|) "));
}

#[test]
fn words_give_way_to_a_port_too() {
    let told = |line: &str, address: Option<&str>, port: &str| {
        let wanted = Wanted { address: address.map(str::as_bytes), port: Some(port.as_bytes()) };
        assert_eq!(fit(line.as_bytes(), 4, &spelling(line), wanted), None, "{line}: it has room");
        let out = fit_by_words(line.as_bytes(), 4, &spelling(line), wanted)?;
        assert_eq!(out.len(), line.len(), "{line}");
        Some(String::from_utf8(out).unwrap())
    };
    for (line, address, port, expected) in [
        (
            "229 Entering Extended Passive Mode (|||1033|)",
            None,
            "50000",
            Some("229 Entering Extended PassiveMode (|||50000|)"),
        ),
        (
            "227 Entering Passive Mode (10,0,0,11,4,9)",
            Some("192,0,2,10"),
            "255,255",
            Some("227 EnteringPassiveMod(192,0,2,10,255,255"),
        ),
        ("229 (|||1033|)", None, "50000", None),
        // The numbers before are of the list.
        ("228 Long (4,4,10,0,0,11,2,4,9)", None, "255,255", None),
        ("229 Extended (|1|10.0.0.11|1033|)", None, "50000", None),
    ] {
        assert_eq!(told(line, address, port).as_deref(), expected, "{line}");
    }
}

/// Where a character of several bytes must give way, all of it does.
#[test]
fn no_character_is_cut() {
    for (line, address, expected) in [
        // one byte too many, and the last letter has two
        ("227 Übergangé(10,0,0,11,121,26)", Some("192,0,2,10"), "227 Übergang (192,0,2,10,121,26)"),
        ("227 ééé(10,0,0,11,121,26)", Some("203,0,113,100"), "227 é(203,0,113,100,121,26)"),
        ("227 é é(10,0,0,11,121,26)", Some("192,0,2,10"), "227 éé(192,0,2,10,121,26)"),
    ] {
        assert_eq!(rewritten(line, address, None).as_deref(), Some(expected), "{line}");
    }
    let port = |line| rewritten(line, None, Some("121,126"));
    assert_eq!(port("227 (10,0,0,11,121,26)é").as_deref(), Some("227 (10,0,0,11,121,126) "));
    assert_eq!(port("227 (10,0,0,11,121,26)éé").as_deref(), Some("227 (10,0,0,11,121,126)é "));
}

/// Whatever had to leave before, the rest completes it: the client reads the address it shall read.
#[test]
fn what_left_early_is_completed() {
    let line = "227 Entering Passive Mode (10,0,0,11,121,26).";
    let found = spelling(line);
    let (_, old) = found.address.clone().unwrap();
    for new in ["192,0,2,10", "1,2,3,4", "203,100,113,100"] {
        for cut in old.end..found.port_at.end {
            let begun = begin(&line.as_bytes()[..cut], 4, &old, new.as_bytes()).unwrap();
            assert_eq!(begun.bytes.len(), cut);
            let wanted = Wanted { address: Some(new.as_bytes()), port: None };
            let out = finish(line.as_bytes(), &begun, &found, wanted).unwrap();
            assert!(out.starts_with(&begun.bytes));
            assert_eq!(fit(line.as_bytes(), 4, &found, wanted).unwrap(), out, "{new} at {cut}");
        }
    }
}

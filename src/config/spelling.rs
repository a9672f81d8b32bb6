//! What was likely meant by a word that is none of those that are known here.

/// Our words, each with those that other programs and people have for the same: ipvsadm, keepalived, ldirectord, syslog, firewalls.
/// In small letters. Where two of ours could be meant, the first one of the table that is known at that place is.
const ELSEWHERE: [(&str, &[&str]); 19] = [
    ("nat", &["masq", "masquerade", "masquerading", "m", "-m", "lvs-nat"]),
    (
        "dr",
        &["gate", "gateway", "gatewaying", "route", "droute", "direct", "direct-routing", "dsr", "g", "-g", "lvs-dr"],
    ),
    ("tun", &["ipip", "tunnel", "tunneling", "tunnelling", "i", "-i", "lvs-tun"]),
    ("drop", &["deny", "block", "discard"]),
    ("reject", &["refuse", "reset", "rst", "deny", "drop"]),
    ("pass", &["accept", "allow"]),
    ("allow", &["accept", "pass"]),
    ("bypass", &["pass", "accept", "open", "fail-open"]),
    ("hold", &["drop", "closed", "fail-closed"]),
    ("tcp", &["connect"]),
    ("banner", &["ftp", "greeting"]),
    ("explicit", &["starttls", "auth", "ftpes"]),
    ("implicit", &["ftps"]),
    ("none", &["off", "no", "false", "never", "disabled"]),
    ("true", &["yes", "on", "enabled"]),
    ("false", &["no", "off", "never", "disabled"]),
    ("error", &["err", "crit", "critical", "alert", "emerg", "fatal"]),
    ("warn", &["warning"]),
    ("debug", &["verbose"]),
];

/// The word among `known` that other programs, or another case of letters, call `word`.
pub(super) fn elsewhere<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let same = known.iter().find(|known| known.to_ascii_lowercase() == word);
    let ours =
        |(ours, theirs): &(&str, &[&str])| known.iter().find(|known| *known == ours && theirs.contains(&word.as_str()));
    same.or_else(|| ELSEWHERE.iter().find_map(ours)).copied()
}

/// What is longer was no slip of a key.
const LONGEST: usize = 40;

/// The known word that is likely meant.
pub(super) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase().replace(['-', ' '], "_");
    let near = known.iter().map(|&name| (distance(&word, name), name)).min()?;
    let shorter =
        |name: &&&str| word.len() >= 4 && name.starts_with(&word) || name.len() >= 5 && word.starts_with(**name);
    let prefix = known.iter().find(shorter);
    if near.0 <= near.1.len().div_ceil(3).min(3) { Some(near.1) } else { prefix.copied() }
}

/// Insertions, deletions, substitutions and swaps of neighbours that make `b` of `a` (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            let mut cost = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(rows[i - 2][j - 2] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_the_one_meant() {
        let known = ["name", "forwarding", "real_servers", "passive_ports", "password_file"];
        assert_eq!(nearest("fowarding", &known), Some("forwarding"));
        assert_eq!(nearest("Real-Servers", &known), Some("real_servers"));
        assert_eq!(nearest("nmae", &known), Some("name"));
        assert_eq!(nearest("password", &known), Some("password_file"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("forwarding_method", &known), Some("forwarding"));
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
    }

    #[test]
    fn a_word_of_another_program_is_ours_where_ours_is_known() {
        let methods = ["nat", "dr", "tun"];
        for (theirs, ours) in [
            ("masq", "nat"),
            ("Masq", "nat"),
            ("NAT", "nat"),
            ("gate", "dr"),
            ("Route", "dr"),
            ("ipip", "tun"),
            ("Tunnel", "tun"),
        ] {
            assert_eq!(elsewhere(theirs, &methods), Some(ours), "{theirs}");
        }
        assert_eq!(elsewhere("warning", &["error", "warn", "info"]), Some("warn"));
        assert_eq!(elsewhere("no", &["true", "false"]), Some("false"));
        assert_eq!(elsewhere("no", &["none", "explicit"]), Some("none"));
        assert_eq!(elsewhere("deny", &["drop", "reject", "pass"]), Some("drop"));
        assert_eq!(elsewhere("deny", &["reject", "allow"]), Some("reject"));
        assert_eq!(elsewhere("warning", &methods), None);
        assert_eq!(elsewhere(&"x".repeat(1000), &methods), None);
    }

    /// What is looked up is in small letters.
    #[test]
    fn all_words_are_in_small_letters() {
        for (ours, theirs) in ELSEWHERE {
            assert!(theirs.iter().chain([&ours]).all(|word| word.to_ascii_lowercase() == **word), "{ours}");
        }
    }
}

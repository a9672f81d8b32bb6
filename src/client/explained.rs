//! `ftpdirector explain` for people.

use super::text::time_of_day;
use crate::api::Explanation;

/// How many of the last events are shown; all of them are in the JSON.
const SHOWN: usize = 40;

/// Prints `ftpdirector explain`.
#[must_use]
pub fn explanation(explanation: &Explanation) -> String {
    let Explanation { session, events, expected, came, verdict, sentence, cure, .. } = explanation;
    let mut text = heading(explanation);
    let hidden = events.len().saturating_sub(SHOWN);
    if hidden > 0 {
        text.push_str(&format!("  … {hidden} earlier events: --json shows all\n"));
    }
    for event in events.iter().skip(hidden) {
        text.push_str(&format!("  {}  {}\n", time_of_day(event.at), event.text));
    }
    if session.is_some() || !events.is_empty() {
        text.push('\n');
    }
    let parts = [("expected", expected), ("came", came)];
    for (name, part) in parts {
        if let Some(part) = part {
            text.push_str(&format!("{:<10}{part}\n", format!("{name}:")));
        }
    }
    text.push_str(&format!("verdict:  {sentence} ({verdict})\n"));
    if let Some(cure) = cure {
        text.push_str(&format!("cure:     {cure}\n"));
    }
    text
}

fn heading(explanation: &Explanation) -> String {
    let Explanation { asked, session, cluster, server, sessions, .. } = explanation;
    let at = match (cluster, server) {
        (Some(cluster), Some(server)) => format!(" at {cluster}/{server}"),
        _ => String::new(),
    };
    let others = match sessions {
        0 | 1 => String::new(),
        count => format!(", one of {count} sessions of this client that are remembered"),
    };
    match session {
        Some(session) => format!("{session}{at}{others}\n"),
        None => format!("{asked}{at}: no session is known\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ExplainedEvent;

    #[test]
    fn an_explanation_is_a_page() {
        let event = |at: f64, text: &str| ExplainedEvent { at, text: text.into() };
        let explanation = Explanation {
            asked: "last".into(),
            session: Some(([198, 51, 100, 7], 40122).into()),
            cluster: Some("downloads".into()),
            server: Some("ftp1".into()),
            sessions: 2,
            events: vec![event(36_000.0, "PASV"), event(36_030.5, "425 to LIST \"No \\\"way\\\".\"")],
            expected: Some("a SYN".into()),
            came: Some("nothing, for 30 s".into()),
            verdict: "no_syn".into(),
            failed: true,
            sentence: "no SYN came".into(),
            cure: Some("open it".into()),
        };
        let expected = "\
198.51.100.7:40122 at downloads/ftp1, one of 2 sessions of this client that are remembered
  10:00:00.000  PASV
  10:00:30.500  425 to LIST \"No \\\"way\\\".\"

expected: a SYN
came:     nothing, for 30 s
verdict:  no SYN came (no_syn)
cure:     open it
";
        assert_eq!(super::explanation(&explanation), expected);
        let none = Explanation {
            session: None,
            cluster: None,
            server: None,
            sessions: 0,
            events: Vec::new(),
            expected: None,
            came: None,
            cure: None,
            ..explanation.clone()
        };
        assert_eq!(super::explanation(&none), "last: no session is known\nverdict:  no SYN came (no_syn)\n");
        let many = Explanation { events: (0..100).map(|_| event(0.0, "PASV")).collect(), ..explanation };
        assert!(
            super::explanation(&many).contains("\n  … 60 earlier events: --json shows all\n  00:00:00.000  PASV\n")
        );
    }
}

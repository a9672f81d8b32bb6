//! Numbers, spans and errors as a person reads them.

use std::time::Duration;

/// How many characters of an error are shown.
const ERROR: usize = 160;

/// A number with its thousands apart: `12,345`.
pub fn counted(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 session`, `2 sessions`.
pub fn plural(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", counted(number))
}

/// A duration in its larger units: `42 s`, `5 min`, `3 h 05 min`, `2 d 4 h`.
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// From one point in time to another, both in seconds since the epoch.
pub fn since(then: f64, now: f64) -> String {
    span(Duration::try_from_secs_f64(now - then).unwrap_or_default())
}

/// `12:34:56 UTC`, of seconds since the epoch.
pub fn time_of_day(at: f64) -> String {
    let seconds = Duration::try_from_secs_f64(at).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A text that is not ours, of bounded length.
pub fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(ERROR).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Why a health check failed, without the server's words: some name the user that asks. They begin with a quotation mark; of a
/// reply its code is left.
pub fn without_words(error: &str) -> String {
    let Some((ours, theirs)) = error.split_once('"') else { return cut(error) };
    let code: String = theirs.chars().take_while(char::is_ascii_digit).take(4).collect();
    let ours = ours.trim_end();
    if code.len() == 3 {
        cut(&format!("{ours} {code}"))
    } else {
        cut(ours.trim_end_matches([':', ' ']).trim_end_matches(" after"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(counted(number), text);
        }
        assert_eq!((plural(1, "session"), plural(2000, "session")), ("1 session".into(), "2,000 sessions".into()));
        for (seconds, text) in [(59, "59 s"), (60, "1 min"), (3661, "1 h 01 min"), (90_000, "1 d 1 h")] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        // A clock that was set back.
        assert_eq!((since(100.0, 90.0), time_of_day(86_399.9)), ("0 s".into(), "23:59:59 UTC".into()));
    }

    #[test]
    fn a_servers_words_are_left_out() {
        for (error, shown) in [
            ("no answer within 3s", "no answer within 3s"),
            ("the server said \"530 User ftpcheck cannot log in.\"", "the server said 530"),
            ("no port in \"227 Entering\"", "no port in 227"),
            ("the server does not speak FTP: \"SSH-2.0-x\"", "the server does not speak FTP"),
            ("the server closed the connection after \"1234567\"", "the server closed the connection"),
        ] {
            assert_eq!(without_words(error), shown);
        }
        assert_eq!(without_words(&"é".repeat(1000)).chars().count(), ERROR + 1);
    }
}

//! What a certificate says of itself: its time, and who made it.

use std::time::Duration;

use x509_cert::Certificate as X509;
use x509_cert::der::{DateTime, Decode};

use crate::time::Time;

/// A certificate, as far as a health check is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The first second in which it is valid (RFC 5280 §4.1.2.5).
    begins: Duration,
    /// The last one. Both since the epoch.
    ends: Duration,
    /// Whether it names itself as its issuer.
    self_issued: bool,
}

impl Certificate {
    /// Reads a certificate in DER, a stranger's. `None`: it is none.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = X509::from_der(der).ok()?;
        let content = certificate.tbs_certificate();
        let (begins, ends) = (content.validity().not_before, content.validity().not_after);
        Some(Self {
            begins: begins.to_unix_duration(),
            ends: ends.to_unix_duration(),
            self_issued: content.issuer() == content.subject(),
        })
    }

    /// The last second in which it is valid, since the epoch.
    #[must_use]
    pub fn ends(self) -> Time {
        Time::from_millis(u64::try_from(self.ends.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether it names itself as its issuer: nobody else vouches for it.
    #[must_use]
    pub const fn is_self_issued(self) -> bool {
        self.self_issued
    }

    /// Why it is not valid at `now`, since the epoch.
    #[must_use]
    pub fn flaw(self, now: Time) -> Option<String> {
        let now = now.since(Time::ZERO);
        if now < self.begins {
            return Some(format!("certificate is not valid before {}", date(self.begins)));
        }
        // It is valid during the whole of the second that it names.
        (now.as_secs() > self.ends.as_secs()).then(|| format!("certificate expired on {}", date(self.ends)))
    }
}

/// The day in UTC: `2026-11-01`.
#[must_use]
pub fn date(since_epoch: Duration) -> String {
    match DateTime::from_unix_duration(since_epoch) {
        Ok(day) => format!("{:04}-{:02}-{:02}", day.year(), day.month(), day.day()),
        Err(_) => "a day after the year 9999".into(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Its own, valid from 2026-03-01 to 2026-11-01, both at midnight.
    fn der() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["ftp.example.net".into()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 3, 1), date_time_ymd(2026, 11, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn it_is_valid_from_its_first_second_to_its_last() {
        let certificate = Certificate::read(&der()).unwrap();
        let (begins, ends) = (1_772_323_200_000, 1_793_491_200_000);
        assert_eq!(certificate.ends(), Time::from_millis(ends));
        assert!(certificate.is_self_issued());
        let early = Some("certificate is not valid before 2026-03-01".to_owned());
        let late = Some("certificate expired on 2026-11-01".to_owned());
        for (now, flaw) in [
            (0, &early),
            (begins - 1, &early),
            (begins, &None),
            (ends, &None),
            (ends + 999, &None),
            (ends + 1000, &late),
            (u64::MAX, &late),
        ] {
            assert_eq!(certificate.flaw(Time::from_millis(now)), *flaw, "{now}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (4_107_542_399, "2100-02-28")] {
            assert_eq!(date(Duration::from_secs(seconds)), day);
        }
        assert_eq!(date(Duration::MAX), "a day after the year 9999");
    }

    #[test]
    fn half_a_certificate_is_none_and_no_panic() {
        let whole = der();
        for end in 0..whole.len() {
            assert_eq!(Certificate::read(&whole[..end]), None, "{end} bytes");
        }
        for place in 0..whole.len() {
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut bent = whole.clone();
                bent[place] = byte;
                if let Some(certificate) = Certificate::read(&bent) {
                    let _ = (certificate.ends(), certificate.flaw(Time::from_millis(u64::MAX)));
                }
            }
        }
    }
}

use super::*;

fn read(form: ActiveForm, text: &str) -> Result<String, UnparsedReason> {
    parse(form, text.as_bytes()).map(|address| address.to_string())
}

#[test]
fn spellings_of_addresses() {
    use ActiveForm::{Extended, Long, Port};
    use UnparsedReason::{Impossible, Malformed};
    for (form, text, expected) in [
        (Port, "192,0,2,1,4,1", Ok("192.0.2.1:1025")),
        (Port, "192, 0 ,2,1, 4,1 ", Ok("192.0.2.1:1025")),
        (Port, "192,000,02,1,4,01", Ok("192.0.2.1:1025")),
        (Port, "192,0,2,1,4,1x", Err(Malformed)),
        (Port, "192,0,2,1,4", Err(Malformed)),
        (Port, "192,0,2,1,4,", Err(Malformed)),
        (Port, "192,0,2,1,4,1,1", Err(Malformed)),
        (Port, "256,0,2,1,4,1", Err(Impossible)),
        (Port, "192,0,2,1,256,1", Err(Impossible)),
        (Port, "192,0,2,1,0,0", Err(Impossible)),
        (Port, "4294967296,0,2,1,4,1", Err(Impossible)),
        (Port, "", Err(Malformed)),
        (Long, "4,4,192,0,2,1,2,4,1", Ok("192.0.2.1:1025")),
        (Long, "6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,4,1", Ok("[2001:db8::1]:1025")),
        (Long, "4,5,192,0,2,1,2,4,1", Err(Malformed)),
        (Long, "4,4,192,0,2,1,3,4,1", Err(Malformed)),
        (Long, "4,4,192,0,2,300,2,4,1", Err(Impossible)),
        (Long, "6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,4,1,1", Err(Malformed)),
        (Extended, "|1|192.0.2.1|1025|", Ok("192.0.2.1:1025")),
        (Extended, "!1!192.0.2.1!1025!", Ok("192.0.2.1:1025")),
        (Extended, "|1|192.0.2.1|1025", Ok("192.0.2.1:1025")),
        (Extended, "|2|2001:db8::1|1025|", Ok("[2001:db8::1]:1025")),
        (Extended, "|2|192.0.2.1|1025|", Err(Malformed)),
        (Extended, "|1|192.0.2.1|1025|x", Err(Malformed)),
        (Extended, "|1|192.0.2.256|1025|", Err(Impossible)),
        (Extended, "|1|192.0.2.1|65536|", Err(Impossible)),
        (Extended, "|1|192.0.2.1|0|", Err(Impossible)),
        (Extended, "|1|192.0.2.1|", Err(Malformed)),
        (Extended, "", Err(Malformed)),
    ] {
        assert_eq!(read(form, text), expected.map(str::to_owned), "{form:?} {text:?}");
    }
}

#[test]
fn addresses_survive_a_round_trip() {
    for address in ["192.0.2.1:1025", "255.255.255.255:65535", "[2001:db8::ffff:1]:31002"] {
        let address: SocketAddr = address.parse().unwrap();
        let [high, low] = address.port().to_be_bytes();
        let (family, bytes) = match address.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let commas = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        let version = if family == 1 { 4 } else { 6 };
        let long = format!("{version},{},{commas},2,{high},{low}", bytes.len());
        assert_eq!(parse(ActiveForm::Long, long.as_bytes()), Ok(address));
        let extended = format!("|{family}|{}|{}|", address.ip(), address.port());
        assert_eq!(parse(ActiveForm::Extended, extended.as_bytes()), Ok(address));
        if family == 1 {
            assert_eq!(parse(ActiveForm::Port, format!("{commas},{high},{low}").as_bytes()), Ok(address));
        }
    }
}

/// What is settled of a beginning is settled of every longer one.
#[test]
fn hosts_and_low_ports_settle_once() {
    for (form, text) in [
        (ActiveForm::Port, "192,0,2,1,0,255"),
        (ActiveForm::Long, "4,4,192,0,2,1,2,3,1"),
        (ActiveForm::Long, "6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,0,80"),
        (ActiveForm::Extended, "|1|192.0.2.1|80|"),
        (ActiveForm::Extended, "|1|010.1|80|"),
    ] {
        let text = text.as_bytes();
        let (mut known, mut low) = (None, false);
        for cut in 0..=text.len() {
            let now = host(form, &text[..cut]);
            assert!(known.is_none() || now == known, "{form:?} {cut}");
            assert!(!low || is_low(form, &text[..cut]), "{form:?} {cut}");
            (known, low) = (now, is_low(form, &text[..cut]));
        }
        assert!(known.is_some() && low, "{form:?}");
    }
}

use std::net::Ipv4Addr;

use super::*;

/// A pcap file of raw IPv4 packets: sender, receiver, sequence number, flags, text.
fn capture(segments: &[(&str, &str, u32, u8, &str)]) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0];
    for (from, to, seq, flags, text) in segments {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let address = |end: &SocketAddr| end.ip().to_string().parse::<Ipv4Addr>().unwrap().octets();
        let total = u16::try_from(40 + text.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(address(&from));
        packet.extend(address(&to));
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend(seq.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0x50, *flags, 1, 0, 0, 0, 0, 0]);
        packet.extend(text.bytes());
        let length = u32::from(total).to_le_bytes();
        file.extend([[0; 4], [0; 4], length, length].concat());
        file.extend(packet);
    }
    file
}

/// A capture of raw packets as one of Ethernet frames, with this from the ethertype on before each packet.
fn in_frames(raw: &[u8], before: &[u8]) -> Vec<u8> {
    let mut file = raw[..24].to_vec();
    file[20] = 1;
    let mut rest = &raw[24..];
    while let Some((header, behind)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let framed = u32::try_from(12 + before.len() + length).unwrap().to_le_bytes();
        file.extend([&header[..8], &framed, &framed, &[2; 12], before, &behind[..length]].concat());
        rest = &behind[length..];
    }
    file
}

const CLIENT: &str = "198.51.100.7:40000";
const SERVER: &str = "10.0.0.11:21";

fn dialogue() -> Vec<u8> {
    capture(&[
        (CLIENT, SERVER, 99, 2, ""),
        (SERVER, CLIENT, 199, 18, ""),
        (CLIENT, SERVER, 100, 24, "PASV\r\n"),
        (SERVER, CLIENT, 200, 24, "227 Entering Passive Mode (10,0,0,12,121,26).\r\n"),
        (CLIENT, SERVER, 106, 24, "PORT 198,51,100,8,200,10\r\n"),
        (CLIENT, SERVER, 132, 24, "EPRT |1|198.51.100.7|51210|\r\n"),
        ("192.0.2.9:1", "192.0.2.8:80", 1, 24, "GET / HTTP/1.1\r\n"),
        (CLIENT, SERVER, 161, 4, ""),
    ])
}

fn replayed(capture: &[u8], forwarding: ForwardingMethod, format: ReportFormat) -> (String, Summary) {
    let mut out = vec![];
    let summary = run(capture, &ReplayOptions { forwarding, format, ports: vec![21] }, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), summary)
}

#[test]
fn json_lines() {
    let (out, summary) = replayed(&dialogue(), ForwardingMethod::Nat, ReportFormat::Json);
    let session = r#"{"session":"198.51.100.7:40000>10.0.0.11:21","event":"#;
    let lines: Vec<_> = out.lines().map(|line| line.strip_prefix(session).expect("the session first")).collect();
    assert_eq!(
        lines,
        [
            r#""command","verb":"PASV","frame":3,"seconds":0.0}"#,
            r#""expect","mode":"passive","verb":"PASV","address":"10.0.0.11","port":31002,"frame":4,"seconds":0.0}"#,
            r#""rewrite","from":"10.0.0.12:31002","to":"10.0.0.11:31002","frame":4,"seconds":0.0}"#,
            r#""reply","code":227,"frame":4,"seconds":0.0}"#,
            r#""command","verb":"PORT","frame":5,"seconds":0.0}"#,
            r#""refuse","verb":"PORT","reason":"third-party","frame":5,"seconds":0.0}"#,
            r#""command","verb":"EPRT","frame":6,"seconds":0.0}"#,
            r#""expect","mode":"active","verb":"EPRT","address":"198.51.100.7","port":51210,"frame":6,"seconds":0.0}"#,
            r#""cancel","reason":"close","frame":8,"seconds":0.0}"#,
            r#""end","frame":8,"seconds":0.0}"#,
        ]
    );
    assert_eq!((summary.packets, summary.control, summary.sessions), (8, 7, 1));
}

#[test]
fn without_the_server_half_there_is_no_port() {
    for forwarding in [ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let (out, _) = replayed(&dialogue(), forwarding, ReportFormat::Json);
        assert!(out.contains(r#""expect","mode":"passive","verb":"PASV","address":"10.0.0.11","port":null,"#), "{out}");
        assert!(!out.contains("reply") && !out.contains("rewrite"), "{out}");
    }
}

#[test]
fn a_capture_of_pppoe_tells_the_same() {
    let framed = in_frames(&dialogue(), &[0x88, 0x64, 0x11, 0, 0, 1, 0, 0, 0, 0x21]);
    let told = replayed(&framed, ForwardingMethod::Nat, ReportFormat::Json);
    assert_eq!(told, replayed(&dialogue(), ForwardingMethod::Nat, ReportFormat::Json));
}

/// What is hinted of a capture in which nobody speaks on port 21.
fn hint(segments: &[(&str, &str, u32, u8, &str)]) -> Option<String> {
    replayed(&capture(segments), ForwardingMethod::Nat, ReportFormat::Json).1.hints(&[21, 990]).pop()
}

/// A server's side of the beginning of a session.
fn greet(server: &str) -> [(&str, &str, u32, u8, &str); 2] {
    [(server, CLIENT, 199, 18, ""), (server, CLIENT, 200, 24, "220-hello\r\n220 ready\r\n")]
}

#[test]
fn other_ports_that_speak_ftp_are_named() {
    let at = |port: u16| format!("10.0.0.11:{port}");
    let servers: Vec<String> = [2121, 8021, 30021, 60021].map(at).into();
    let one = "nothing on port 21 or 990; port 2121 looks like FTP: replay --port 2121";
    assert_eq!(hint(&greet(&servers[0])).unwrap(), one);
    // the client's half alone, as in front of DR servers
    assert_eq!(hint(&[(CLIENT, &servers[0], 100, 24, "epsv\r\n")]).unwrap(), one);
    let mut all: Vec<_> = servers.iter().rev().flat_map(|server| greet(server)).collect();
    all.extend(servers[1..].iter().flat_map(|server| greet(server)));
    let busiest =
        "nothing on port 21 or 990; ports 8021 and 30021 and 60021 look like FTP: replay --port 8021,30021,60021";
    assert_eq!(hint(&all).unwrap(), busiest);
    // who has sessions at the control ports did not mistake them
    all.push((CLIENT, SERVER, 99, 2, ""));
    assert_eq!(hint(&all), None);
}

#[test]
fn what_is_no_ftp_is_not_named() {
    let name = "nothing on port 21 or 990: name the control port with --port";
    let (mail, server) = ("10.0.0.11:25", "10.0.0.11:20");
    for segments in [
        &[][..],
        &[(mail, CLIENT, 199, 18, ""), (mail, CLIENT, 200, 24, "220 example.net ESMTP\r\n")],
        // a file in active mode: the server connects
        &[(server, CLIENT, 99, 2, ""), (CLIENT, server, 199, 18, ""), (server, CLIENT, 100, 24, "220 bottles\n")],
        &[(mail, CLIENT, 199, 18, ""), (mail, CLIENT, 200, 24, "2200 bottles\n")],
        &[(CLIENT, mail, 100, 24, "USER a\r\n")],
    ] {
        assert_eq!(hint(segments).unwrap(), name, "{segments:?}");
    }
    let late = hint(&[(SERVER, CLIENT, 199, 16, "226 done\r\n")]).unwrap();
    assert_eq!(late, "no control connection begins on port 21 or 990: capture from before the client connects");
}

#[test]
fn what_is_not_looked_into_is_counted() {
    let hints = |capture: &[u8]| replayed(capture, ForwardingMethod::Nat, ReportFormat::Json).1.hints(&[21]);
    let mpls = hints(&in_frames(&dialogue(), &[0x88, 0x47, 0, 1, 1, 64]));
    let behind = "capture on an interface behind the tunnel's end";
    let expected = ["nothing on port 21".to_owned(), format!("packets that are not looked into: 8 MPLS: {behind}")];
    assert_eq!(mpls, expected);
    // the same packets with other numbers in the IP header, one of them that of UDP
    let (mut gre, start) = (dialogue(), [0x45, 0, 0, 40]);
    let headers: Vec<usize> = (24..gre.len() - 4).filter(|&at| gre[at..].starts_with(&start)).collect();
    let [first, second, third] = *headers else { panic!("{headers:?}") };
    for (at, protocol) in [(first, 17), (second, 47), (third, 47)] {
        gre[at + 9] = protocol;
    }
    gre[first + 22..first + 24].copy_from_slice(&4789_u16.to_be_bytes());
    // there is a session all the same
    assert_eq!(hints(&gre), [format!("packets that are not looked into: 2 GRE, 1 VXLAN: {behind}")]);
    assert_eq!(hints(&dialogue()), [""; 0]);
}

#[test]
fn an_encapsulation_is_known_by_its_number() {
    let udp = |port: u16| [&[0x46, 0, 0, 0, 0, 0, 0, 0, 64, 17][..], &[0; 14], &[4, 0], &port.to_be_bytes()].concat();
    for (port, expected) in [
        (1701, Some(Encapsulation::L2tp)),
        (4500, Some(Encapsulation::Ipsec)),
        (4789, Some(Encapsulation::Vxlan)),
        (8472, Some(Encapsulation::Vxlan)),
        (6081, Some(Encapsulation::Geneve)),
        (53, None),
    ] {
        let packet = udp(port);
        assert_eq!(Encapsulation::of(&packet), expected, "{port}");
        assert!((0..packet.len()).all(|length| Encapsulation::of(&packet[..length]).is_none()), "{port}");
    }
    let v6 = |next: u8| [&[0x60, 0, 0, 0, 0, 0, next, 64][..], &[0; 32]].concat();
    for (next, expected) in [
        (47, Some(Encapsulation::Gre)),
        (50, Some(Encapsulation::Ipsec)),
        (51, Some(Encapsulation::Ipsec)),
        (115, Some(Encapsulation::L2tp)),
        (17, None),
        (58, None),
    ] {
        assert_eq!(Encapsulation::of(&v6(next)), expected, "{next}");
    }
    assert_eq!(Encapsulation::of(&[0x25; 40]), None);
}

#[test]
fn text_ends_with_a_summary() {
    let (out, _) = replayed(&dialogue(), ForwardingMethod::Nat, ReportFormat::Text);
    assert!(out.contains("198.51.100.7:40000>10.0.0.11:21 refuse PORT: third-party\n"), "{out}");
    assert!(out.ends_with("8 packets, 7 of 1 control connection; not read: 0 fragments, 0 truncated\n"), "{out}");
}

/// Frames are counted and timed as Wireshark does, so that a line leads to its packet.
#[test]
fn each_line_has_its_frame_and_its_time() {
    let mut file = dialogue();
    // The file begins at 1000.250 s; its third frame came 1.534 s later.
    let mut at = 24;
    for number in 0..8 {
        let (seconds, micros) = if number < 2 { (1000_u32, 250_000_u32) } else { (1001, 784_500) };
        file[at..at + 4].copy_from_slice(&seconds.to_le_bytes());
        file[at + 4..at + 8].copy_from_slice(&micros.to_le_bytes());
        at += 16 + u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
    }
    let (out, _) = replayed(&file, ForwardingMethod::Nat, ReportFormat::Text);
    assert!(out.starts_with("     3     1.534 198.51.100.7:40000>10.0.0.11:21 command PASV\n"), "{out}");
    let (out, _) = replayed(&file, ForwardingMethod::Nat, ReportFormat::Json);
    assert!(out.lines().next().unwrap().ends_with(r#""verb":"PASV","frame":3,"seconds":1.534}"#), "{out}");
}

#[test]
fn a_file_that_ends_early_is_told_as_far_as_it_goes() {
    let whole = dialogue();
    let (out, summary) = replayed(&whole[..whole.len() - 3], ForwardingMethod::Nat, ReportFormat::Text);
    assert!(summary.cut_short && summary.packets == 7);
    assert!(out.contains("ends in the middle"), "{out}");
}

#[test]
fn what_is_no_capture_is_an_error() {
    let options = ReplayOptions { forwarding: ForwardingMethod::Nat, format: ReportFormat::Json, ports: vec![21] };
    for (bytes, message) in
        [(&b""[..], "the file is empty"), (b"this is no capture at all, is it?", "neither pcap nor pcapng")]
    {
        let error = run(bytes, &options, &mut std::io::sink()).expect_err("no capture").to_string();
        assert!(error.ends_with(message), "{error}");
    }
}

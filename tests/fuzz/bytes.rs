//! Bytes that others write: configuration files, and what the kernel sends over netlink.

use ftpdirector::facade::config::{self, Included};
use ftpdirector::facade::import;
use ftpdirector::facade::kernel;

/// Between the main file and each one that it includes.
const FILE: &str = "\n%%\n";

/// Pieces of a configuration file.
pub const WORDS: &[&str] = &[
    "clusters:",
    "defaults: {",
    "include: [a.yaml]",
    FILE,
    "\n  - name: ",
    "vips: [",
    "192.0.2.10",
    "2001:db8::10",
    "forwarding: ",
    "nat",
    "dr",
    "tun",
    "real_servers:",
    "address: ",
    "passive_ports: ",
    "public_ports: ",
    "31000-31999",
    "persistence: 5m",
    "990",
    "0x0f700000",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "\n",
    "  ",
    "&a ",
    "*a",
    "<<: ",
    "|",
    "\"",
    "null",
    "10s",
    "~",
    "---",
    "\t",
    "\u{2028}",
];

/// The examples.
pub fn files() -> Vec<Vec<u8>> {
    [
        include_bytes!("../../examples/nat.yaml").as_slice(),
        include_bytes!("../../examples/tls.yaml"),
        include_bytes!("../../examples/red-hat-recipe.yaml"),
        concat!(
            include_str!("../../examples/many-clusters/config.yaml"),
            "\n%%\n",
            include_str!("../../examples/many-clusters/clusters.d/10-downloads.yaml"),
            "\n%%\n",
            include_str!("../../examples/many-clusters/clusters.d/20-uploads.yaml")
        )
        .as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .into()
}

/// Files are read, or every problem of them is said; both can be printed. What is printed with every default is good.
pub fn run_file(input: &[u8]) -> Vec<u64> {
    let mut files = Vec::new();
    let mut rest = input;
    while let Some(end) = rest.windows(FILE.len()).position(|piece| piece == FILE.as_bytes()) {
        files.push(&rest[..end]);
        rest = &rest[end + FILE.len()..];
    }
    files.push(rest);
    let included: Vec<Included> = files[1..]
        .iter()
        .enumerate()
        .map(|(item, text)| Included { item, file: format!("{item}.yaml"), content: Ok(text.to_vec()) })
        .collect();
    let _ = config::includes(files[0]);
    match config::parse_files(files[0], "fuzz.yaml", &included) {
        Ok(parsed) => {
            let printed = config::effective(&parsed.config, &parsed.by_name).expect("YAML");
            config::parse(&printed, "printed.yaml").unwrap_or_else(|problems| panic!("{printed}\n{problems}"));
            vec![0, parsed.warnings.len() as u64, parsed.config.clusters.len() as u64]
        }
        Err(problems) => {
            let text = problems.to_string();
            assert!(!text.is_empty(), "refused without a word");
            let features = problems.list.iter().map(|problem| {
                // What is wrong, without the user's own words: the first three.
                let words: Vec<_> = problem.what.split(' ').take(3).collect();
                words.join(" ").bytes().fold(1, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
            });
            features.collect()
        }
    }
}

/// Pieces of other programs' configurations.
pub const IMPORT_WORDS: &[&str] = &[
    "virtual_server ",
    "virtual_server_group g {",
    "real_server ",
    "192.0.2.10 21 {",
    "fwmark 21",
    "group g",
    "lb_kind TUN\n",
    "persistence_timeout 300\n",
    "sorry_server ",
    "$A=",
    "${A}",
    "@main ",
    "include x\n",
    "virtual=",
    "\treal=198.51.100.1->198.51.100.9:21 masq\n",
    "service=ftp\n",
    "virtual ftp {",
    "server a {",
    "address = ",
    "-A -t 192.0.2.10:21 -s wlc\n",
    "-a -t 192.0.2.10:21 -r ",
    "-A -f 21 -p 300\n",
    "-j MARK --set-mark 21\n",
    "-d 192.0.2.10",
    "--dport 10000:20000",
    "ip daddr { 192.0.2.10, 192.0.2.11 } ",
    "tcp dport { 21, 10000-20000 } ",
    "meta mark set 21\n",
    "2001:db8::10",
    "[::1]:21",
    "127.0.0.1",
    "255.255.255.255",
    "65536",
    "{",
    "}\n",
    "\"",
    "\\\n",
];

/// One of each format.
pub fn imports() -> Vec<Vec<u8>> {
    [
        include_bytes!("../import/keepalived-nat/keepalived.conf").as_slice(),
        include_bytes!("../import/keepalived-group/keepalived.conf"),
        include_bytes!("../import/ldirectord-masq/ldirectord.cf"),
        include_bytes!("../import/piranha-direct-fwmark/lvs.cf"),
        include_bytes!("../import/ipvsadm-nat-helper/ipvsadm.rules"),
        include_bytes!("../import/ipvsadm-script/lvs.sh"),
        include_bytes!("../import/ipvsadm-fwmark-nft/ruleset.nft"),
    ]
    .map(<[u8]>::to_vec)
    .into()
}

/// What is written passes `check`; what is not ends in a sentence.
pub fn run_import(input: &[u8]) -> Vec<u64> {
    let formats = import::Format::NAMED.map(|(_, format)| Some(format)).into_iter().chain([None]);
    let mut features = Vec::new();
    for (number, format) in formats.enumerate() {
        let source = || import::Source { name: "fuzz".to_owned(), bytes: input.to_vec(), format };
        let includes = |_: &str, _: &str| Ok(vec![import::Include { name: "x".to_owned(), bytes: input.to_vec() }]);
        let number = 1000 * number as u64;
        match import::import(&[source()], &includes) {
            Ok(imported) => {
                let parsed = config::parse(&imported.text, "fuzz.yaml");
                assert!(parsed.is_ok(), "{}", imported.text);
                features.push(number + imported.text.lines().filter(|line| line.contains("GUESS")).count() as u64);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty(), "refused without a word");
                features.push(number + 999);
            }
        }
    }
    features
}

/// A dump of one element, a queued packet and a logged one, as libnetlink lays them out.
pub fn datagrams() -> Vec<Vec<u8>> {
    let attribute = |kind: u16, body: &[u8]| {
        let mut bytes = u16::try_from(4 + body.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let message = |kind: u16, body: &[u8]| {
        let mut bytes = u32::try_from(20 + body.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([2, 0]);
        bytes.extend([0; 8]);
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(body);
        bytes
    };
    let key = attribute(0x8001, &attribute(0x8001, &attribute(1, &[10, 0, 0, 1, 0x79, 0x18, 0, 0])));
    let elements = attribute(0x8003, &attribute(0x8001, &[key, attribute(3, &[0, 0, 0, 1])].concat()));
    let packet =
        [attribute(1, &[0, 0, 0, 7, 8, 0, 4, 0]), attribute(3, &[0x0f, 0x73, 0, 1]), attribute(10, b"E\0\0\x28")];
    let logged = [attribute(2, &[0x0f, 0x70, 0, 1]), attribute(9, b"E\0\0\x28"), attribute(10, b"landed\0")];
    vec![message(0x0a0c, &elements), message(0x0300, &packet.concat()), message(0x0400, &logged.concat())]
}

/// Every parser reads every datagram.
pub fn run_datagram(input: &[u8]) -> Vec<u64> {
    let mut features = Vec::new();
    let read = kernel::parse_elements(input);
    features.extend(read.iter().map(|element| 100 + element.key.len() as u64));
    features.push(200 + kernel::parse_counters(input).len() as u64);
    let mut logged = 0;
    kernel::parse_log(input, &mut |packet| logged += 1 + u64::from(packet.mark != 0));
    features.push(300 + logged);
    let mut queued = 0;
    kernel::parse_queue(&mut input.to_vec(), &mut |packet| queued += 1 + u64::from(packet.truncated));
    features.push(400 + queued);
    features
}

//! `import` as a user runs it: configurations as they are found in public, and files that are none.
//!
//! `tests/import/CASE/` has the files of a case, and what `import` makes of them: `expected.yaml`, and `expected.txt` for what it
//! says. `BLESS=1 cargo test --test import` rewrites both.

#![expect(clippy::unwrap_used, reason = "a test says what it expected")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ftpdirector::facade::config;
use ftpdirector::facade::import::{Format, ImportError, Imported, Include, Source, by_sight, import};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

fn names(folder: &Path, wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| wanted(path));
    names.sort();
    names
}

fn cases() -> Vec<PathBuf> {
    let cases = names(&folder(), Path::is_dir);
    assert!(cases.len() >= 12, "only {} cases", cases.len());
    cases
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ftpdirector"));
    program.arg("import").args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// What a case gives: the file, and what is said of it.
fn made(case: &Path) -> (String, String) {
    let input = |path: &Path| path.is_file() && !path.file_name().unwrap().to_str().unwrap().starts_with("expected");
    let files = names(case, input);
    let files: Vec<&str> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    let output = run(case, &files);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (file, said) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{}: {said}", case.display());
    (file, said)
}

#[test]
fn every_public_configuration_gives_its_file() {
    let mut wrong = Vec::new();
    for case in cases() {
        let (file, said) = made(&case);
        for (expected, found) in [("expected.yaml", file), ("expected.txt", said)] {
            let expected = case.join(expected);
            if std::env::var_os("BLESS").is_some() {
                fs::write(&expected, &found).unwrap();
            }
            if fs::read_to_string(&expected).unwrap_or_default() != found {
                wrong.push(format!("{}:\n{found}", expected.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "not as expected (BLESS=1 rewrites):\n{}", wrong.join("\n"));
}

/// The warning of servers in NAT whose passive range is not known is right, and the only one.
#[test]
fn every_result_passes_the_check() {
    for case in cases() {
        let file = case.join("expected.yaml");
        let text = fs::read(&file).unwrap();
        let parsed = config::parse_bytes(&text, "expected.yaml").unwrap_or_else(|problems| panic!("{problems}"));
        for warning in parsed.warnings {
            assert!(warning.what.contains("may use any unprivileged port"), "{}: {warning}", file.display());
        }
        // As clusters, not as comments.
        assert!(!String::from_utf8(text).unwrap().contains("# NOT WRITTEN"), "{}", file.display());
    }
}

/// The comments too: with their signs off, the ranges are those of our file.
#[test]
fn every_proposed_range_is_a_range_of_its_own() {
    let mut seen = 0;
    for case in cases() {
        let text = fs::read_to_string(case.join("expected.yaml")).unwrap();
        if !text.contains("# passive_ports: ") {
            continue;
        }
        seen += 1;
        // A cluster with a known range loses that, as its comment says.
        let lines = text.lines().filter(|line| {
            let key = line.trim_start();
            !["persistence:", "passive:", "ports: 1", "ports: 4"].iter().any(|start| key.starts_with(start))
        });
        let text: String = lines.map(|line| line.replace("# passive_ports: ", "passive_ports: ") + "\n").collect();
        let parsed = config::parse(&text, "expected.yaml").unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert!(parsed.warnings.is_empty(), "{}: {:?}", case.display(), parsed.warnings);
    }
    assert!(seen > 3, "only {seen} files have proposals in comments: this test no longer sees them");
}

/// Passwords of checks, of VRRP and in the arguments of programs stay where they are.
#[test]
fn no_password_is_copied() {
    let mut held = 0;
    for case in cases() {
        let holds = |path: &PathBuf| fs::read_to_string(path).unwrap().contains("s3cret");
        held += names(&case, Path::is_file).iter().filter(|path| holds(path)).count();
        let (file, said) = made(&case);
        assert!(!file.contains("s3cret") && !said.contains("s3cret"), "{}", case.display());
    }
    assert!(held > 3, "only {held} files hold a password: this test no longer sees them");
    // In places that are none for it.
    for (format, text) in [
        (
            Format::Keepalived,
            "virtual_server 192.0.2.1 21 {\n lb_kind NAT\n real_server 198.51.100.1 21 {\n  MISC_CHECK {\n   misc_path \"FTP_PASS=s3cret /usr/lib/check\"\n  }\n }\n}\n",
        ),
        (Format::Ldirectord, "virtual=192.0.2.1:21\n\treal=198.51.100.1:21 masq\n\tpasswd \"s3cretA=x\"\n"),
    ] {
        let file = of(text.as_bytes(), Some(format)).unwrap().text;
        assert!(!file.to_lowercase().contains("s3cret"), "{file}");
    }
}

#[test]
fn standard_input_is_read_and_has_no_directory() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ftpdirector"));
    program.args(["import", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = program.spawn().unwrap();
    let text =
        "include more/*.conf\nvirtual_server 192.0.2.10 21 {\n lb_kind NAT\n real_server 198.51.100.1 21 {\n }\n}\n";
    running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let file = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let file = file.replace("\n#  ", "");
    assert!(file.contains("standard input has no directory; give the file by its name"), "{file}");
    assert!(file.contains("address: 198.51.100.1"), "{file}");
}

/// The lines of a result that tell what to delete.
fn delete(text: &str) -> String {
    let begin = text.split_once("Delete, at the switch").unwrap().1;
    let lines = begin.split("\nclusters:").next().unwrap().split("\n# NOT WRITTEN").next().unwrap();
    lines.replace("\n#", " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is not written has nothing to take its place: nobody is told to delete it.
#[test]
fn only_what_is_written_is_to_be_deleted() {
    let server = "lb_kind NAT\n real_server 198.51.100.1 21 {\n }\n}\n";
    let good = format!("virtual_server 192.0.2.10 21 {{\n {server}");
    let unplaced = of(format!("{good}virtual_server fwmark 5 {{\n {server}").as_bytes(), None).unwrap();
    assert!(!delete(&unplaced.text).contains("fwmark 5"), "{}", unplaced.text);
    assert!(delete(&unplaced.text).contains("virtual_server 192.0.2.10 21"), "{}", unplaced.text);
    assert!(unplaced.text.contains("# NOT WRITTEN: "), "{}", unplaced.text);

    let group =
        format!("virtual_server_group g {{\n 192.0.2.20 21\n fwmark 5\n}}\nvirtual_server group g {{\n {server}");
    let group = of(group.as_bytes(), None).unwrap().text;
    assert!(delete(&group).contains("is still needed: keep that part"), "{group}");

    let named = format!("{good}virtual_server ftp.example.net 21 {{\n {server}");
    let named = of(named.as_bytes(), None).unwrap().text;
    assert!(!delete(&named).contains("ftp.example.net"), "{named}");

    // Without a real server `check` refuses it.
    let held = of(format!("{good}virtual_server 192.0.2.30 21 {{\n lb_kind NAT\n}}\n").as_bytes(), None).unwrap();
    assert!(held.text.contains("# NOT WRITTEN, for"), "{}", held.text);
    assert!(!delete(&held.text).contains("192.0.2.30"), "{}", held.text);
    let said = &held.said;
    assert!(
        said[0].starts_with("1 cluster from file; ") && said[0].contains(" and 1 NOT WRITTEN comments: "),
        "{said:?}"
    );
    assert_eq!(said[1], "1 cluster more is in it as a comment only: the reason stands above it");
}

/// What is refused is nobody's neighbour at the VIP: no guessed range is in force because of it.
#[test]
fn a_cluster_that_is_not_written_declares_no_ranges_for_others() {
    let server = "lb_kind NAT\n real_server 198.51.100.1 21 {\n }\n real_server 198.51.100.2 21 {\n }\n}\n";
    let good = format!("virtual_server 192.0.2.10 21 {{\n {server}");
    let marks = "-A PREROUTING -d 192.0.2.10 -p tcp --dport 21 -j MARK --set-mark 7\n";
    let of = |text: &str| {
        let sources = [source(text.as_bytes(), None), source(marks.as_bytes(), Some(Format::Iptables))];
        import(&sources, &|_, _| Err("not in this test".to_owned())).unwrap().text
    };
    // Comments begin with `#`.
    let ranges = |text: &str| text.lines().filter(|line| line.trim_start().starts_with("passive")).count();
    assert_eq!(ranges(&of(&good)), 0, "{}", of(&good));
    let beside = of(&format!("{good}virtual_server fwmark 7 {{\n {}", server.replace("198.51", "203.0")));
    assert!(beside.contains("NOT WRITTEN, for") && ranges(&beside) == 0, "{beside}");
}

#[test]
fn thresholds_become_max_sessions() {
    let keepalived = |keys: &str, server: &str| {
        let text = format!(
            "virtual_server fwmark 5 {{\n lb_kind NAT\n {keys}\n real_server 198.51.100.1 21 {{\n {server}\n }}\n}}\n"
        );
        let marks = "-A PREROUTING -d 192.0.2.10 -p tcp -m multiport --dports 21,40000:40099 -j MARK --set-mark 5\n";
        let sources =
            [source(text.as_bytes(), Some(Format::Keepalived)), source(marks.as_bytes(), Some(Format::Iptables))];
        import(&sources, &|_, _| Err("not in this test".to_owned())).unwrap().text.replace("\n      #  ", "")
    };
    let text = keepalived("", "uthreshold 100\nlthreshold 80");
    assert!(text.contains("\n        max_sessions: 100\n") && !text.contains("LEFT OUT: max_sessions"), "{text}");
    assert!(text.contains("`lthreshold` of real servers: a server takes sessions again as soon as"), "{text}");
    assert!(!keepalived("", "uthreshold 0").contains("max_sessions"));
    assert!(keepalived("", "uthreshold many").contains("`uthreshold`: many is no number"));
    // With persistence kept, `check` refuses it.
    let text = keepalived("persistence_timeout 300", "uthreshold 100");
    assert!(text.contains("persistence: 300s") && !text.contains("\n        max_sessions:"), "{text}");
    assert!(text.contains("LEFT OUT: max_sessions: 100: with persistence"), "{text}");

    let ipvsadm = |options: &str| {
        let text = format!("-A -t 192.0.2.10:21 -s wlc\n-a -t 192.0.2.10:21 -r 198.51.100.1:21 -m -w 1 {options}\n");
        of(text.as_bytes(), None).unwrap().text.replace("\n      #  ", "")
    };
    let text = ipvsadm("-x 100 -y 80");
    assert!(text.contains("\n        max_sessions: 100\n"), "{text}");
    assert!(
        text.contains(
            "LEFT OUT: file:2: `-y`: a server takes sessions again as soon as it has fewer than max_sessions"
        ),
        "{text}"
    );
    let text = ipvsadm("-x 0 -y 0");
    assert!(!text.contains("max_sessions"), "{text}");
}

fn source(text: &[u8], format: Option<Format>) -> Source {
    Source { name: "file".to_owned(), bytes: text.to_vec(), format }
}

fn of(text: &[u8], format: Option<Format>) -> Result<Imported, ImportError> {
    import(&[source(text, format)], &|_, _| Err("not in this test".to_owned()))
}

/// Each ends in a sentence, with its exit code.
#[test]
fn what_cannot_be_imported_ends_in_a_sentence() {
    let folder = std::env::temp_dir().join(format!("ftpdirector-import-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let large = fs::File::create(folder.join("large")).unwrap();
    // Zeros that take no room; read to its end it would take its time.
    large.set_len(100 << 20).unwrap();
    let long = "# a comment\n".repeat(100_000);
    let files: [(&str, &[u8], i32, &str); 11] = [
        (
            "binary",
            b"\x7fELF\x02\x01\x01\x00\x00",
            78,
            "this is a binary file; import reads the text files of keepalived",
        ),
        ("long", long.as_bytes(), 78, "this is more than 1048576 bytes; give the part with the virtual services"),
        ("empty", b" \n\n", 78, "this is empty"),
        ("wide", b"\xff\xfev\x00i\x00", 78, "this is UTF-16; save it as UTF-8"),
        (
            "prose",
            b"Dear operator,\nplease restart it.\n",
            78,
            "in no format that import knows by sight; say which with --from",
        ),
        (
            "listing",
            b"IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port\n",
            78,
            "`ipvsadm -S -n` writes what can be read",
        ),
        ("ours", b"clusters:\n  - name: a\n", 78, "a configuration of ftpdirector already"),
        (
            "web",
            b"-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m\n",
            1,
            "no FTP service that can be written is in web: what is in it is TCP 192.0.2.1:80",
        ),
        (
            "named",
            b"-A -t ftp.example.net:ftp -s rr\n-a -t ftp.example.net:ftp -r rs1:ftp -m\n",
            1,
            "`ftp.example.net` is no address; names are not looked up",
        ),
        (
            "every",
            b"-A -t 192.0.2.1:0 -s rr -p\n-a -t 192.0.2.1:0 -r 10.0.0.1:0 -m\n",
            1,
            "TCP 192.0.2.1, every port\nif FTP is behind a service of every port: import a copy",
        ),
        ("nobody", b"-A -t 192.0.2.1:21 -s rr\n", 1, "`ftpdirector check` would refuse every cluster"),
    ];
    for (name, bytes, ..) in &files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let more = [
        ("large", 78, "this is more than 1048576 bytes"),
        ("missing", 78, "missing: No such file or directory"),
        (".", 78, ".: this is a directory"),
        ("/dev/zero", 78, "/dev/zero: this is no file; give it on standard input"),
    ];
    let all = files.iter().map(|(name, _, code, sentence)| (*name, *code, *sentence)).chain(more);
    for (name, code, sentence) in all {
        let output = run(&folder, &[name]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("ftpdirector: ") && said.contains(sentence), "{name}: {said}");
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(code), &b""[..]), "{name}: {said}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Marsaglia's xorshift64.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Whatever comes of it, it comes, and it passes the check.
fn ends(bytes: &[u8], format: Option<Format>) {
    let includes = |pattern: &str, _from: &str| match pattern {
        "loop" => Ok(vec![Include { name: "file".to_owned(), bytes: bytes.to_vec() }]),
        _ => Ok(vec![Include { name: pattern.to_owned(), bytes: b"include loop\ninclude a\ninclude b\n".to_vec() }]),
    };
    match import(&[source(bytes, format)], &includes) {
        Ok(imported) => {
            let parsed = config::parse(&imported.text, "result");
            assert!(parsed.is_ok(), "{}\n{}", parsed.unwrap_err(), imported.text);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[test]
fn damaged_files_end_too() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let formats = Format::NAMED.map(|(_, format)| Some(format));
    let inputs: Vec<Vec<u8>> =
        cases().iter().flat_map(|case| names(case, Path::is_file)).map(|path| fs::read(path).unwrap()).collect();
    for (index, input) in inputs.iter().cycle().take(inputs.len() * 60).enumerate() {
        let mut bytes = input.clone();
        for _ in 0..1 + random(&mut state) % 8 {
            let at = usize::try_from(random(&mut state)).unwrap() % bytes.len().max(1);
            if bytes.is_empty() {
                break;
            }
            match random(&mut state) % 4 {
                0 => bytes[at] = b"{}\"'$@\n\\ =:-/!#0f,"[usize::try_from(random(&mut state)).unwrap() % 18],
                1 => drop(bytes.drain(at..(at + 9).min(bytes.len()))),
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let piece = bytes[at..(at + 30).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        ends(&bytes, None);
        ends(&bytes, formats[index % formats.len()]);
    }
}

/// It only demands that each ends: what takes quadratic time in a mebibyte holds the test up for everybody to see.
#[test]
fn large_and_strange_files_end() {
    let mebibyte = |piece: &str| piece.repeat((1 << 20) / piece.len());
    let bomb = format!("$A={}\n$B=$A $A $A $A\n$C=$B $B $B\n{}", "x ".repeat(2000), mebibyte("$C\n"));
    let servers = format!("virtual_server 192.0.2.1 21 {{\n{}}}\n", mebibyte("real_server 10.0.0.1 21 {}\n"));
    let group = format!(
        "virtual_server_group g {{\n{}}}\n{}",
        "10.0.0.0-255 21\n".repeat(2000),
        "virtual_server group g { real_server 10.9.0.1 21 {} }\n".repeat(10_000)
    );
    let ports =
        format!("-A PREROUTING -d 192.0.2.1 -p tcp --dports {} -j MARK --set-mark 1\n-A -f 1\n", mebibyte("1:49999,"));
    let sets = format!(
        "table inet t {{\nset s {{\nelements = {{ {} }}\n}}\n{}}}\n",
        "10.0.0.1, ".repeat(900),
        mebibyte("ip daddr @s mark set 1\n")
    );
    let texts = [
        bomb,
        servers,
        group,
        ports,
        sets,
        mebibyte("virtual_server fwmark 1 { real_server 10.0.0.1 21 { } }\n"),
        mebibyte("virtual=192.0.2.1:21\n real=10.0.0.1->10.0.3.250 gate\n"),
        mebibyte("virtual ftp {\naddress = 192.0.2.1\nserver a { address = 10.0.0.1 }\n}\n"),
        mebibyte("-A -t 192.0.2.1:21\n-a -t 192.0.2.1:21 -r 10.0.0.1:21\n"),
        (0..20_000)
            .map(|n| {
                format!(
                    "-A -t 10.{}.{}.1:21\n-a -t 10.{}.{}.1:21 -r 192.0.2.{}\n",
                    n / 200,
                    n % 200,
                    n / 200,
                    n % 200,
                    n % 250
                )
            })
            .collect(),
        mebibyte("{"),
        mebibyte("a {"),
        mebibyte("}"),
        mebibyte("\\\n"),
        mebibyte("\""),
        mebibyte("include loop\n"),
        mebibyte("a"),
        mebibyte("$"),
    ];
    for text in texts {
        let mut bytes = text.into_bytes();
        bytes.truncate(1 << 20);
        for (_, format) in Format::NAMED {
            ends(&bytes, Some(format));
        }
    }
}

/// The keywords of keepalived.conf(5), 2.3: those of services, then those of everything else.
const KEYWORDS: &str = include_str!("import/keepalived-keywords");

/// Every keyword of the manual in every place: it ends, and what stands in an FTP service is used or told.
#[test]
fn every_keyword_of_keepalived_is_used_or_told() {
    let everything: String = KEYWORDS
        .split_whitespace()
        .map(|keyword| format!("{keyword} 1\n{keyword} 1 {{\n{keyword} 1\n{keyword} {{ {keyword} }}\n}}\n"))
        .collect();
    ends(everything.as_bytes(), Some(Format::Keepalived));
    let (services, _) = KEYWORDS.split_once("\n\n").unwrap();
    // What has a key of its own in our file, or is the service itself.
    let used = [
        "lvs_sched",
        "lb_algo",
        "lvs_method",
        "lb_kind",
        "persistence_timeout",
        "protocol",
        "sorry_server",
        "real_server",
        "weight",
        "delay_loop",
        "connect_timeout",
        "retry",
        "nb_get_retry",
        "ip_family",
    ];
    let mut told = 0;
    for keyword in services.split_whitespace() {
        let text = format!(
            "virtual_server 192.0.2.10 21 {{\n lb_kind NAT\n {keyword} 1\n real_server 198.51.100.1 21 {{\n {keyword} 1\n }}\n}}\n"
        );
        let file = of(text.as_bytes(), None).unwrap_or_else(|error| panic!("{keyword}: {error}")).text;
        if used.contains(&keyword) {
            continue;
        }
        told += 1;
        assert!(file.contains(keyword), "{keyword} is dropped without a word:\n{file}");
    }
    assert!(told > 60, "only {told} keywords: this test no longer sees them");
}

#[test]
fn the_format_is_known_by_sight() {
    for case in cases() {
        for path in names(&case, Path::is_file) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let expected = match name.as_str() {
                "keepalived.conf" => Some(Format::Keepalived),
                "ldirectord.cf" => Some(Format::Ldirectord),
                "lvs.cf" => Some(Format::Piranha),
                "ipvsadm" | "ipvsadm.rules" | "modprobe.conf" | "lvs.sh" => Some(Format::Ipvsadm),
                "iptables" | "rules.v4" | "firewall.sh" => Some(Format::Iptables),
                "ruleset.nft" => Some(Format::Nft),
                _ => None,
            };
            assert_eq!(by_sight(&text).map(|(_, format)| format), expected, "{}", path.display());
        }
    }
    let yaml = |path: &Path| path.extension().is_some_and(|extension| extension == "yaml");
    for example in names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"), yaml) {
        assert_eq!(by_sight(&fs::read_to_string(&example).unwrap()), None, "{}", example.display());
    }
}

use super::*;
use crate::config::{Parsed, parse};

/// Two servers by name behind 192.0.2.10, and ftp3 at 10.0.0.13 between them.
const FILE: &str = "clusters: [{name: a, vips: [192.0.2.10], forwarding: nat, sorry_server: 10.0.0.99, real_servers: [\n  \
                    {address: ftp1.example.net, passive_ports: 31000-31999},\n  \
                    {name: ftp3, address: 10.0.0.13, passive_ports: 33000-33999},\n  \
                    {name: ftp2, address: ftp2.example.net., passive_ports: 32000-32999}]}, \n  \
                    {name: b, vips: [192.0.2.20, 192.0.2.21], forwarding: nat, passive: {ports: 40000-40999}, real_servers: [{address: 10.0.0.20}]}]\n";

fn file(text: &str) -> Parsed {
    parse(text, "test.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn host(name: &str) -> Host {
    Host { name: name.into(), ipv6: false }
}

/// What name servers say of ftp1 and ftp2: addresses, or `!` and why there are none; nothing: they have said nothing yet.
fn answers(said: [&str; 2]) -> Answers {
    let named = ["ftp1.example.net", "ftp2.example.net."].into_iter().zip(said).filter(|(_, said)| !said.is_empty());
    let read = |said: &str| match said.strip_prefix('!') {
        Some(why) => Err(why.to_owned()),
        None => Ok(said.split(' ').map(ip).collect()),
    };
    named.map(|(name, said)| (host(name), read(said))).collect()
}

/// What becomes of `FILE` by these answers.
fn resolved(said: [&str; 2], standing: Option<&Config>) -> ResolvedFile {
    let nobody = BTreeSet::new();
    let parsed = file(FILE);
    parsed.by_name.resolve(&parsed.config, &Ground { answers: &answers(said), standing, served: &nobody, own: &nobody })
}

fn addresses(config: &Config) -> Vec<(String, String)> {
    config.clusters[0].real_servers.iter().map(|of| (of.name.clone(), of.address.to_string())).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, address)| ((*name).to_owned(), (*address).to_owned())).collect()
}

fn troubles(resolved: &ResolvedFile) -> Vec<&str> {
    resolved.servers.iter().map(|of| of.trouble.as_deref().unwrap_or("-")).collect()
}

#[test]
fn servers_by_name_are_left_out_until_they_have_an_address() {
    let parsed = file(FILE);
    assert_eq!(addresses(&parsed.config), pairs(&[("ftp3", "10.0.0.13")]));
    assert_eq!(parsed.by_name.hosts(), BTreeSet::from([host("ftp1.example.net"), host("ftp2.example.net.")]));
    assert_eq!(parsed.by_name.whole(&parsed.config).clusters[0].real_servers.len(), 3);
    let none = resolved(["", ""], None);
    assert_eq!(none.config, parsed.config);
    assert_eq!(troubles(&none), ["it was not looked up yet"; 2]);
    let one = resolved(["!SERVFAIL", "10.0.0.12"], None);
    assert_eq!(addresses(&one.config), pairs(&[("ftp3", "10.0.0.13"), ("ftp2", "10.0.0.12")]));
    assert_eq!(troubles(&one), ["SERVFAIL", "-"]);
    let both = resolved(["10.0.0.11", "10.0.0.12"], None);
    let expected = [("ftp1.example.net", "10.0.0.11"), ("ftp3", "10.0.0.13"), ("ftp2", "10.0.0.12")];
    assert_eq!(addresses(&both.config), pairs(&expected), "in file order");
    assert_eq!(both.config.clusters[1], parsed.config.clusters[1]);
    // As if the file had the addresses.
    let literal = FILE.replace("address: ftp1.example.net", "name: ftp1.example.net, address: 10.0.0.11");
    let mut expected = file(&literal.replace("ftp2.example.net.", "10.0.0.12")).config;
    expected.clusters[0].real_servers[0].host = Some("ftp1.example.net".into());
    expected.clusters[0].real_servers[2].host = Some("ftp2.example.net.".into());
    assert_eq!(both.config, expected);
}

#[test]
fn the_address_in_use_stays_while_the_name_has_it_and_while_it_has_none() {
    let first = resolved(["10.0.0.41 10.0.0.40", "10.0.0.12"], None);
    assert_eq!(first.servers[0].address, Some(ip("10.0.0.40")), "the lowest");
    assert_eq!(first.servers[0].usable, 2);
    for said in ["10.0.0.9 10.0.0.40", "10.0.0.40", "!SERVFAIL", "", "127.0.0.1"] {
        let next = resolved([said, "10.0.0.12"], Some(&first.config));
        assert_eq!(next.config, first.config, "{said}");
    }
    let failed = resolved(["!no answer within 15 s", "10.0.0.12"], Some(&first.config));
    assert_eq!(troubles(&failed), ["no answer within 15 s", "-"]);
    assert_eq!(failed.servers[0].address, Some(ip("10.0.0.40")));
    let moved = resolved(["10.0.0.41", "10.0.0.12"], Some(&first.config));
    assert_eq!(moved.servers[0].address, Some(ip("10.0.0.41")));
    assert_eq!(moved.config.clusters[0].real_servers[0].name, "ftp1.example.net", "its name stays");
    assert_eq!(troubles(&moved), ["-"; 2]);
    // The server may be called otherwise meanwhile, but not the host.
    let relabelled = file(&FILE.replace("{address: ftp1.example.net", "{name: one, address: FTP1.example.net."));
    let (none, nobody) = (Answers::new(), BTreeSet::new());
    let ground = Ground { answers: &none, standing: Some(&first.config), served: &nobody, own: &nobody };
    let relabelled = relabelled.by_name.resolve(&relabelled.config, &ground);
    assert_eq!((relabelled.servers[0].server.as_str(), relabelled.servers[0].address), ("one", Some(ip("10.0.0.40"))));
    let renamed =
        file(&FILE.replace("{address: ftp1.example.net", "{name: ftp1.example.net, address: ftp9.example.net"));
    assert_eq!(renamed.by_name.resolve(&renamed.config, &ground).servers[0].address, None);
}

#[test]
fn of_several_addresses_one_that_has_sessions_is_taken() {
    let (parsed, answers) = (file(FILE), answers(["10.0.0.40 10.0.0.41 10.0.0.42", "10.0.0.12"]));
    let (served, nobody) = ([ip("10.0.0.42"), ip("10.0.0.41"), ip("10.0.0.13")].into(), BTreeSet::new());
    let ground = Ground { answers: &answers, standing: None, served: &served, own: &nobody };
    assert_eq!(parsed.by_name.resolve(&parsed.config, &ground).servers[0].address, Some(ip("10.0.0.41")));
}

#[test]
fn an_address_that_no_server_can_have_is_refused() {
    let own = [ip("10.0.0.1")].into();
    let (parsed, nobody) = (file(FILE), BTreeSet::new());
    for (said, why) in [
        ("127.0.0.53", "127.0.0.53 is a loopback address"),
        ("0.0.0.0", "0.0.0.0 is the unspecified address"),
        ("224.0.0.1", "224.0.0.1 is a multicast address"),
        ("255.255.255.255", "255.255.255.255 is the broadcast address"),
        ("240.0.0.0", "240.0.0.0 is a reserved address"),
        ("192.0.2.10", "192.0.2.10 is a VIP"),
        ("192.0.2.21", "192.0.2.21 is a VIP"),
        ("10.0.0.1", "10.0.0.1 is an address of this machine"),
        ("10.0.0.99", "10.0.0.99 is the address of the sorry server"),
        ("10.0.0.13", "10.0.0.13 is the address of the server ftp3"),
        ("10.0.0.12", "10.0.0.12 is the address of the server ftp2"),
        ("2001:db8::1", "no IPv4 address"),
    ] {
        // ftp2 stands at its address.
        let standing = resolved(["", "10.0.0.12"], None).config;
        let answers = answers([said, "10.0.0.12"]);
        let ground = Ground { answers: &answers, standing: Some(&standing), served: &nobody, own: &own };
        let refused = parsed.by_name.resolve(&parsed.config, &ground);
        assert_eq!(refused.servers[0].trouble.as_deref(), Some(why), "{said}");
        assert_eq!((refused.servers[0].address, &refused.config), (None, &standing), "{said}");
    }
    // A server of another cluster may be the same machine; and what can be used is used.
    assert_eq!(troubles(&resolved(["10.0.0.20", "10.0.0.12"], None)), ["-"; 2]);
    let some = resolved(["127.0.0.1 10.0.0.13 10.0.0.44 192.0.2.10", "10.0.0.12"], None);
    assert_eq!((some.servers[0].address, some.servers[0].usable), (Some(ip("10.0.0.44")), 1));
}

#[test]
fn two_names_never_have_one_address() {
    let pool = "10.0.0.40 10.0.0.41";
    let both = resolved([pool, pool], None);
    assert_eq!(
        both.servers.iter().map(|of| of.address).collect::<Vec<_>>(),
        [Some(ip("10.0.0.40")), Some(ip("10.0.0.41"))]
    );
    assert_eq!(resolved(["10.0.0.41 10.0.0.40", pool], Some(&both.config)).config, both.config);
    // The second took the first one's place: who has it keeps it.
    let same = resolved(["10.0.0.41", "10.0.0.41"], Some(&both.config));
    assert_eq!(same.servers[0].address, Some(ip("10.0.0.40")), "its last one");
    assert_eq!(troubles(&same), ["10.0.0.41 is the address of the server ftp2", "-"]);
    // They change places in one step.
    let crossed = resolved(["10.0.0.41", "10.0.0.40"], Some(&both.config));
    assert_eq!(
        crossed.servers.iter().map(|of| of.address).collect::<Vec<_>>(),
        [Some(ip("10.0.0.41")), Some(ip("10.0.0.40"))]
    );
}

#[test]
fn a_last_address_that_the_file_gave_to_another_is_no_longer_kept() {
    let standing = resolved(["10.0.0.11", "10.0.0.12"], None).config;
    let parsed = file(&FILE.replace("10.0.0.13", "10.0.0.11"));
    let (answers, nobody) = (answers(["!SERVFAIL", "!SERVFAIL"]), BTreeSet::new());
    let ground = Ground { answers: &answers, standing: Some(&standing), served: &nobody, own: &nobody };
    let now = parsed.by_name.resolve(&parsed.config, &ground);
    assert_eq!(addresses(&now.config), pairs(&[("ftp3", "10.0.0.11"), ("ftp2", "10.0.0.12")]));
}

#[test]
fn the_family_of_an_address_is_that_of_the_vips() {
    let text = "clusters: [{name: a, vips: ['2001:db8::10'], forwarding: nat, passive: {ports: 31000-31999}, real_servers: [{address: FTP1}]}]";
    let parsed = file(text);
    let wanted = Host { name: "ftp1".into(), ipv6: true };
    assert_eq!(parsed.by_name.hosts(), BTreeSet::from([wanted.clone()]));
    let answers = Answers::from([(wanted, Ok(vec![ip("10.0.0.1"), ip("fe80::1"), ip("2001:db8::11")]))]);
    let nobody = BTreeSet::new();
    let ground = Ground { answers: &answers, standing: None, served: &nobody, own: &nobody };
    let config = parsed.by_name.resolve(&parsed.config, &ground).config;
    assert_eq!(addresses(&config), pairs(&[("ftp1", "2001:db8::11")]));
}

/// What stands for an address until it is known may be nobody's: no file can have it.
#[test]
fn what_stands_for_a_name_is_no_address_of_a_server() {
    let parsed = file(FILE);
    for server in parsed.by_name.whole(&parsed.config).clusters.iter().flat_map(|cluster| &cluster.real_servers) {
        assert_eq!(unfit(server.address).is_some(), server.host.is_some(), "{server:?}");
    }
}

/// What must hold between keys is checked before anyone is asked.
#[test]
fn a_name_is_checked_like_an_address() {
    let two = |more: &str| {
        let text = format!(
            "clusters: [{{name: a, vips: [192.0.2.10], forwarding: dr, real_servers: [\n  \
             {{name: rs1, address: ftp1, passive_ports: 31000-31999}}, {{name: rs2, address: ftp2, {more}}}]}}]"
        );
        parse(&text, "test.yaml").map(|_| ()).map_err(|problems| problems.list[0].what.clone())
    };
    assert_eq!(two("passive_ports: 32000-32999"), Ok(()));
    let overlap = "31500-32999 of rs2 overlaps 31000-31999 of rs1; in dr the director does not see whose port it is";
    assert_eq!(two("passive_ports: 31500-32999"), Err(overlap.to_owned()));
    assert_eq!(two("passive_ports: 32000-32999, port: 2121"), Err("dr cannot change the port".to_owned()));
}

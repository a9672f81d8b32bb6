//! Lines of commands: `ipvsadm -S -n`, `iptables-save`, and shell scripts that call ipvsadm, iptables, nft and modprobe.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::found::{Found, Helper, Place};
use super::iptables::Iptables;
use super::ipvsadm::Ipvsadm;
use super::nft;
use super::text::{NFT, SHELL, Values, definition, words};

/// The module takes no more ports (`IP_VS_APP_MAX_PORTS`).
const PORTS: usize = 8;
/// Programs in front of a program.
const BEFORE: [&str; 6] = ["sudo", "exec", "then", "else", "do", "nohup"];

/// Reads a file.
pub(super) fn read(file: &Rc<str>, text: &str, found: &mut Found) {
    let mut values = Values::default();
    let mut reader = Reader { ipvsadm: Ipvsadm::default(), iptables: Iptables::default() };
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let place = Place { file: Rc::clone(file), line: index + 1 };
        let mut line = line.trim_end().to_owned();
        while line.ends_with('\\') {
            let Some((_, more)) = lines.next() else { break };
            line.pop();
            line.push(' ');
            line.push_str(more.trim_end());
        }
        reader.iptables.heading(&line);
        let words = words(&values.expand(&line), &SHELL);
        for command in words.split(|word| matches!(word.as_str(), ";" | "&" | "|")) {
            let words = match command.first().map(String::as_str) {
                Some("export" | "local" | "readonly") => &command[1..],
                _ => command,
            };
            if let [only] = words
                && let Some((name, value)) = definition(only)
            {
                values.set(name, value);
            } else {
                reader.command(&place, words, found);
            }
        }
    }
}

struct Reader {
    ipvsadm: Ipvsadm,
    iptables: Iptables,
}

impl Reader {
    fn command(&mut self, place: &Place, words: &[String], found: &mut Found) {
        let start = words.iter().position(|word| !BEFORE.contains(&word.as_str())).unwrap_or(words.len());
        let words = &words[start..];
        let Some((first, rest)) = words.split_first() else { return };
        match first.rsplit('/').next().unwrap_or(first) {
            "ipvsadm" => self.ipvsadm.command(place, rest, found),
            "iptables" | "iptables-legacy" | "iptables-nft" => self.iptables.command(place, rest, false, found),
            "ip6tables" | "ip6tables-legacy" | "ip6tables-nft" => self.iptables.command(place, rest, true, found),
            "nft" if rest.first().is_some_and(|word| word == "add" || word == "insert") => {
                // The quotes are gone: nft's own marks are words again.
                nft::rule(place, &self::words(&rest.join(" "), &NFT), found);
            }
            "modprobe" | "insmod" | "options" | "ip_vs_ftp" => helper(place, words, found),
            "-A" | "-a" | "-E" | "-e" if rest.first().is_some_and(|word| !word.starts_with('-')) => {
                self.iptables.saved(place, words, found);
            }
            "-A" | "-a" | "-E" | "-e" | "--add-service" | "--add-server" | "--edit-service" | "--edit-server" => {
                self.ipvsadm.command(place, words, found);
            }
            "-At" | "-Af" | "-Au" | "-at" | "-af" | "-au" => self.ipvsadm.command(place, words, found),
            "-I" => self.iptables.saved(place, words, found),
            _ => {}
        }
    }
}

/// `modprobe ip_vs_ftp [ports=21,2121]`, a line of /etc/modules or of /etc/modprobe.d.
fn helper(place: &Place, words: &[String], found: &mut Found) {
    if !words.iter().any(|word| word == "ip_vs_ftp" || word.ends_with("/ip_vs_ftp.ko")) {
        return;
    }
    // `modprobe -r ip_vs_ftp` takes it away.
    if words.iter().any(|word| word == "-r" || word == "--remove") {
        return;
    }
    let named = words.iter().find_map(|word| word.strip_prefix("ports="));
    let ports = named.unwrap_or("21").split(',').filter_map(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
    let helper = found.helper.get_or_insert_with(|| Helper { place: place.clone(), ports: BTreeSet::new() });
    let room = PORTS.saturating_sub(helper.ports.len());
    helper.ports.extend(ports.take(room));
}

//! Everything that was found → the text of a file that `check` accepts.

use std::collections::{BTreeMap, BTreeSet};

use super::choose::{self, Chosen, Front};
use super::draft::Draft;
use super::found::{Found, ImportError, Remarks};
use super::merge;
use super::page::Page;
use super::ranges::{self, Ranges};
use super::text::shown;
use super::write;
use crate::config::{self, Problem, ProblemSeverity};
use crate::lvs::ForwardingMethod;

/// More than this is counted, not listed.
const LISTED: usize = 40;
/// The most real servers in the result, each as often as a cluster has it.
const SERVERS: usize = 50_000;
/// So often clusters that would be refused are taken out, before it is given up.
const ROUNDS: usize = 5;
/// Longest name of a cluster.
const NAME: usize = 32;
/// Problems of one cluster that are told.
const TOLD: usize = 5;

/// A configuration file, and what to say of it.
#[derive(Debug)]
pub struct Imported {
    /// The file: YAML with comments. `check` accepts it.
    pub text: String,
    /// A sentence about it, and one for each thing that is not in it.
    pub said: Vec<String>,
}

/// Writes what was found in the files `names`.
pub(super) fn of(found: &Found, names: &str) -> Result<Imported, ImportError> {
    let mut chosen = choose::choose(found);
    if chosen.fronts.is_empty() {
        return Err(nothing(found, &chosen, names));
    }
    let mut servers = 0_usize;
    let fits = |front: &&Front| {
        servers += front.service.servers.len().max(1);
        servers <= SERVERS
    };
    let drafts: Vec<Draft> = chosen.fronts.iter().take_while(fits).map(Draft::of).collect();
    let cut = chosen.fronts.len() - drafts.len();
    chosen.keep.extend(chosen.fronts.iter().skip(drafts.len()).flat_map(|front| front.delete.lines()));
    let drafts = merge::merge(drafts);
    let clusters = |refused: &Refused| {
        let ranges = ranges::plan(&drafts, &chosen.others, |index| !refused.contains_key(&index));
        clusters(&drafts, &ranges, found)
    };
    let head = |refused: &Refused| head(found, &chosen, &Written::of(&drafts, refused), names);
    let (text, held) = accepted(head, clusters)?;
    let written = drafts.len() - held;
    let mut said = vec![format!(
        "{} from {names}{}; then `ftpdirector check config.yaml` and `sudo ftpdirector plan config.yaml`",
        counted(written, "cluster"),
        comments(&text)
    )];
    said.extend(chosen.unplaced.lines());
    if held > 0 {
        let (are, above) = if held == 1 { ("is", "it") } else { ("are", "each") };
        said.push(format!(
            "{} more {are} in it as a comment only: the reason stands above {above}",
            counted(held, "cluster")
        ));
    }
    if cut > 0 {
        said.push(format!("{cut} control ports of VIPs are left out: more than {SERVERS} real servers"));
    }
    Ok(Imported { text, said })
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// How many comments of each sort are to be read.
fn comments(text: &str) -> String {
    let count = |begin: &str| text.lines().filter(|line| line.trim_start().starts_with(begin)).count();
    let counts = [("GUESS", "# GUESS:"), ("LEFT OUT", "# LEFT OUT:"), ("NOT WRITTEN", "# NOT WRITTEN")];
    let counts = counts.map(|(sort, begin)| (count(begin), sort));
    let told: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, sort)| format!("{count} {sort}")).collect();
    let Some((last, others)) = told.split_last() else { return String::new() };
    let list = if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) };
    match counts.iter().map(|(count, _)| count).sum() {
        1 => format!("; {list} comment: read it"),
        _ => format!("; {list} comments: read each"),
    }
}

/// What was seen instead.
fn nothing(found: &Found, chosen: &Chosen, names: &str) -> ImportError {
    let mut sentence = format!("no FTP service that can be written is in {names}");
    let unplaced: Vec<String> = chosen.unplaced.lines().take(TOLD).collect();
    if !unplaced.is_empty() {
        sentence = format!("{sentence}\n{}", unplaced.join("\n"));
    } else if chosen.left.is_empty() {
        let remarks: Vec<String> = found.remarks.lines().take(TOLD).collect();
        let why = if remarks.is_empty() { String::new() } else { format!("\n{}", remarks.join("\n")) };
        let marks = if found.marks.is_empty() {
            ": there is no virtual service in it"
        } else {
            ": it sets marks; give the file with the virtual services too"
        };
        sentence = format!("{sentence}{marks}{why}");
    } else {
        sentence = format!("{sentence}: what is in it is {}", listed(&chosen.left));
        if chosen.left.iter().any(|left| left.ends_with("every port")) {
            sentence.push_str(
                "\nif FTP is behind a service of every port: import a copy of the file in which its port is 21",
            );
        }
    }
    ImportError::Nothing(sentence)
}

fn listed(items: &BTreeSet<String>) -> String {
    let list: Vec<&str> = items.iter().take(LISTED).map(String::as_str).collect();
    let more = items.len() - list.len();
    if more > 0 { format!("{}, and {more} more", list.join(", ")) } else { list.join(", ") }
}

/// The clusters that `check` would refuse, and why.
type Refused = BTreeMap<usize, Vec<String>>;

/// The drafts that are clusters of the result, and those that are comments only.
struct Written<'d> {
    drafts: Vec<&'d Draft>,
    held: Vec<&'d Draft>,
}

impl<'d> Written<'d> {
    fn of(drafts: &'d [Draft], refused: &Refused) -> Self {
        let mut written = Self { drafts: Vec::new(), held: Vec::new() };
        for (index, draft) in drafts.iter().enumerate() {
            if refused.contains_key(&index) { written.held.push(draft) } else { written.drafts.push(draft) }
        }
        written
    }

    /// What is to be deleted: nothing that only a service has that is not written.
    fn delete(&self, chosen: &Chosen) -> Remarks {
        let mut keep = chosen.keep.clone();
        keep.extend(self.held.iter().flat_map(|draft| draft.delete.lines()));
        let mut delete = Remarks::default();
        for line in self.drafts.iter().flat_map(|draft| draft.delete.lines()) {
            if keep.contains(&line) {
                delete.note(format!("{line}; but what of it is not written below is still needed: keep that part"));
            } else {
                delete.note(line);
            }
        }
        let vips: BTreeSet<_> = self.drafts.iter().flat_map(|draft| &draft.vips).collect();
        for (_, line) in chosen.data.iter().filter(|(vip, _)| vips.contains(vip)) {
            delete.note(line);
        }
        delete
    }
}

/// What stands above the clusters.
fn head(found: &Found, chosen: &Chosen, written: &Written<'_>, names: &str) -> String {
    let mut page = Page::default();
    page.comment(0, &format!("Made by `ftpdirector import` from {names}."));
    page.comment(
        0,
        "GUESS begins what the files do not say, LEFT OUT what they say and is not done here, NOT WRITTEN an FTP service that is here as a \
         comment only, with the reason. Read each. Then, with this file as config.yaml:",
    );
    for step in STEPS {
        page.verbatim(0, step);
    }
    page.comment(0, "Why in this order, and the way back: /usr/share/doc/ftpdirector/examples/MIGRATING.md.");
    page.verbatim(0, "");
    page.comment(0, "Delete, at the switch and not before:");
    let mut lines: Vec<String> = written.delete(chosen).lines().chain(found.delete.lines()).collect();
    match &found.helper {
        Some(helper) => lines.push(format!("{}: ip_vs_ftp is loaded. {MODULE}", helper.place)),
        None if written.drafts.iter().any(|draft| draft.forwarding == ForwardingMethod::Nat) => {
            lines.push(format!("if `lsmod` shows ip_vs_ftp: {MODULE}"));
        }
        None => {}
    }
    if lines.iter().any(|line| line.contains("ipvsadm -D")) {
        lines.push(
            "what `ipvsadm -D` deletes stands in a file too, which ipvsadm -R reads at the next boot: delete it there"
                .to_owned(),
        );
    }
    for line in lines {
        page.comment(0, &format!("  {line}"));
    }
    if !chosen.left.is_empty() {
        page.comment(0, &format!("Left alone: {}.", listed(&chosen.left)));
    }
    for line in chosen.unplaced.lines() {
        page.comment(0, &format!("NOT WRITTEN: {line}"));
    }
    for line in found.remarks.lines() {
        page.comment(0, &line);
    }
    page.text.push('\n');
    page.text
}

const STEPS: [&str; 5] = [
    "  ftpdirector check config.yaml",
    "  sudo ftpdirector plan config.yaml",
    "  sudo install -m 644 config.yaml /etc/ftpdirector/config.yaml",
    "  and at the switch: delete what is listed here, then",
    "  sudo systemctl enable --now ftpdirector       (if it runs: sudo systemctl reload ftpdirector)",
];
const MODULE: &str =
    "`modprobe -r ip_vs_ftp`, and what loads it at boot; ftpdirector refuses to start while it is bound to its port";

/// The clusters' texts.
fn clusters(drafts: &[Draft], ranges: &[Ranges], found: &Found) -> Vec<String> {
    let moved: BTreeSet<_> = found.moved.iter().collect();
    let mut names = BTreeSet::new();
    let one = |(draft, ranges): (&Draft, &Ranges)| {
        let mut draft = draft.clone();
        if draft.vips.iter().all(|vip| moved.contains(vip)) {
            draft.remarks.note("keepalived moves the VIP (VRRP) and goes on doing so: `vip_interface` stays null.");
            draft.interface = None;
        } else if draft.interface.is_none() && !draft.remarks.lines().any(|line| line.contains("vip_interface")) {
            draft.remarks.guess(
                "something puts the VIP on this director (`vip_interface` is null): these files do not say what.",
            );
        }
        let mut known = BTreeSet::new();
        for server in &mut draft.servers {
            server.name = server.name.take().filter(|name| fits(name) && known.insert(name.clone()));
        }
        let name = name(draft.name.as_deref(), &mut names);
        write::cluster(&draft, &name, ranges)
    };
    drafts.iter().zip(ranges).map(one).collect()
}

/// Whether our file accepts the name of a server.
fn fits(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic() && c != '/')
}

/// The file's own name as ours are, or `ftp`; another one than those before.
fn name(wanted: Option<&str>, names: &mut BTreeSet<String>) -> String {
    let letters = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let own: String = wanted.unwrap_or_default().chars().map(letters).take(NAME).collect();
    let own = own.trim_matches('-');
    let base = if own.is_empty() { "ftp" } else { own };
    let numbered = |number: usize| {
        let end = format!("-{number}");
        format!("{}{end}", &base[..base.len().min(NAME - end.len())])
    };
    let mut name = base.to_owned();
    let mut number = names.len() + 1;
    while names.contains(&name) {
        name = numbered(number);
        number += 1;
    }
    names.insert(name.clone());
    name
}

/// The file without the clusters that `check` would refuse, which become comments, and how many these are.
fn accepted(
    head: impl Fn(&Refused) -> String,
    clusters: impl Fn(&Refused) -> Vec<String>,
) -> Result<(String, usize), ImportError> {
    let mut refused = Refused::new();
    for _ in 0..ROUNDS {
        let clusters = clusters(&refused);
        let written: Vec<usize> = (0..clusters.len()).filter(|index| !refused.contains_key(index)).collect();
        let text = assembled(&head(&refused), &clusters, &refused);
        let problems = match config::parse(&text, "the result") {
            Ok(_) => return Ok((text, refused.len())),
            Err(problems) => problems,
        };
        let before = refused.len();
        for problem in problems.list.iter().filter(|problem| problem.severity == ProblemSeverity::Error) {
            let Some(&cluster) = at(problem).and_then(|at| written.get(at)) else { continue };
            let told = refused.entry(cluster).or_default();
            if told.len() < TOLD {
                told.push(format!("{}: {}", problem.path, problem.what));
            }
        }
        if refused.len() == before || refused.len() == clusters.len() {
            let why = refused.values().flatten().next().cloned().or_else(|| Some(problems.list.first()?.what.clone()));
            return Err(ImportError::Nothing(format!(
                "`ftpdirector check` would refuse every cluster that can be made of this, first because of {}",
                shown(&why.unwrap_or_default())
            )));
        }
    }
    Err(ImportError::Nothing("too many clusters of this would be refused by `ftpdirector check`".to_owned()))
}

/// The number of the cluster in the path of a problem: `clusters[3].vips[0]`.
fn at(problem: &Problem) -> Option<usize> {
    problem.path.strip_prefix("clusters[")?.split(']').next()?.parse().ok()
}

fn assembled(head: &str, clusters: &[String], refused: &Refused) -> String {
    let mut text = format!("{head}clusters:\n");
    for (index, cluster) in clusters.iter().enumerate() {
        match refused.get(&index) {
            Some(why) => text.push_str(&write::held_back(cluster, why)),
            None => text.push_str(cluster),
        }
    }
    text
}

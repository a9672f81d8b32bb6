use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::config::sample;
use crate::daemon::admin::Belief;
use crate::daemon::messages::Message;
use crate::daemon::metrics::ServerCounters;
use crate::daemon::metrics::observe::Observed;
use crate::daemon::view::History;
use crate::director::Mode;
use crate::kernel::nftables::Element;
use crate::lvs::ForwardingMethod;
use crate::page;
use crate::plan::advertised::Advertised;
use crate::plan::availability::Availability;
use crate::plan::mark_index;
use crate::state::sets::Set;

/// A kernel that counts one unexpected data connection at each look, and how often it was asked.
#[derive(Default)]
struct Fake(AtomicU64);

impl DaemonFacts for Fake {
    fn belief(&self) -> Belief {
        let config = sample::config(ForwardingMethod::Nat);
        let indexes =
            mark_index::assign(&config, mark_index::marks(&config), &Default::default()).expect("few servers");
        Belief {
            config: Arc::new(config),
            indexes,
            availability: Availability::default(),
            health: Vec::new(),
            agents: Vec::new(),
            advertised: Advertised::default(),
            by_name: Vec::new(),
            history: History { reload_good: true, ..History::default() },
        }
    }

    fn counted(&self, belief: &Belief) -> Result<Observed, String> {
        let looks = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let unexpected = vec![(belief.config.clusters[0].name.clone(), looks)];
        Ok(Observed { counters: KernelCounters { unexpected, ..KernelCounters::default() }, ..Observed::default() })
    }

    fn dynamic(&self) -> Result<Vec<(Set, Vec<Element>)>, String> {
        Ok(Vec::new())
    }
}

/// Runs `test` with a page whose packet thread answers; returns how many snapshots it was asked for.
fn with_page<T: Future<Output = ()>>(test: impl FnOnce(Arc<Page<Fake>>) -> T) -> usize {
    let (packets, inbox, _wake) = Packets::line().expect("a line");
    let thread = std::thread::spawn(move || {
        let mut asked = 0;
        while let Ok(message) = inbox.recv() {
            match message {
                Message::Snapshot(answer) => {
                    asked += 1;
                    drop(answer.send(Snapshot::default()));
                }
                Message::Stop => break,
                _ => {}
            }
        }
        asked
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { test(Arc::new(Page::new(Fake::default(), packets.clone()))).await });
    assert!(packets.tell(Message::Stop));
    thread.join().expect("an end")
}

#[test]
fn whoever_asks_a_thousand_times_costs_one_look() {
    let asked = with_page(async |page| {
        for _ in 0..1000 {
            let html = Arc::clone(&page).html().await.expect("a page");
            assert!(html.contains("All is well."), "{html}");
        }
        let looks = page.facts.0.load(Ordering::Relaxed);
        assert!(looks < 20, "{looks} looks at the kernel");
    });
    assert!(asked < 20, "{asked} snapshots");
}

#[test]
fn a_packet_thread_that_is_gone_is_said() {
    let (packets, inbox, _wake) = Packets::line().expect("a line");
    drop(inbox);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let page = runtime.block_on(async { Arc::new(Page::new(Fake::default(), packets)).html().await });
    assert_eq!(page, Err("the packet thread is gone".into()));
}

#[test]
fn what_is_counted_here_and_in_the_kernel_comes_together() {
    let mut snapshot = Snapshot::default();
    let expectations = &mut snapshot.clusters.entry("a".into()).or_default().expectations;
    for (key, count) in [
        ((Mode::Passive, Outcome::Used), 10),
        ((Mode::Active, Outcome::Used), 1),
        ((Mode::Active, Outcome::Expired), 2),
        ((Mode::Passive, Outcome::Refused), 3),
        ((Mode::Passive, Outcome::Superseded), 4),
    ] {
        expectations.insert(key, count);
    }
    snapshot.sessions = BTreeMap::from([(("a".into(), "rs1".into()), 5), (("a".into(), "rs2".into()), 6)]);
    let server = |misdirected| ServerCounters { cluster: "a".into(), misdirected, ..ServerCounters::default() };
    let servers = vec![server(7), server(8)];
    let mut config = sample::config(ForwardingMethod::Nat);
    let b = &mut config.clusters[0];
    (b.name, b.unexpected_data) = ("b".into(), UnexpectedData::Pass);
    let unexpected = vec![("a".into(), 9), ("b".into(), 100)];
    let kernel = KernelCounters { servers, unexpected, ..KernelCounters::default() };
    let counts = counts(&config, &snapshot, &kernel);
    assert_eq!(Counter::ALL.map(|counter| counts["a"].of(counter)), [11, 2, 3, 15, 9, 0, 0, 0, 0]);
    assert!(!counts.contains_key("b"), "another director has those sessions");
    assert_eq!(sessions(&snapshot)["a"], 11);
}

/// With `PAGE_DIRECTORY=DIR` it writes pages to look at there.
#[test]
fn pages_to_look_at() {
    let servers =
        |cluster: &str| (1..=4).map(|n| page::sample::server(cluster, &format!("ftp{n}"))).collect::<Vec<_>>();
    let mut downloads = servers("downloads");
    downloads[1] = page::sample::down("downloads", "ftp2");
    downloads[2].state = crate::api::ServerState::Drained;
    downloads[2].effective_weight = 0;
    let (ill, well) =
        (page::sample::cluster("downloads", downloads), page::sample::cluster("mirror", servers("mirror")));
    let findings = BTreeMap::from([("fatal", 0), ("warning", 1)]);
    let hour = page::sample::hour(&["downloads", "mirror"], 0);
    let seen = |status, findings, hour| Seen {
        status,
        findings,
        hour,
        at: page::sample::at(),
        now: page::sample::NOW,
        host: "lb1",
    };
    let status = page::sample::status(vec![ill, well.clone()]);
    let failing = render(&seen(&status, Some(&findings), &hour));
    let young = Hour::default();
    let quiet = page::sample::status(vec![well]);
    let pages = [("failing", failing), ("well", render(&seen(&quiet, None, &young)))];
    for (name, page) in pages {
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{name}");
        if let Some(directory) = std::env::var_os("PAGE_DIRECTORY") {
            let file = std::path::Path::new(&directory).join(name).with_extension("html");
            std::fs::write(file, page).expect("a directory that can be written to");
        }
    }
}

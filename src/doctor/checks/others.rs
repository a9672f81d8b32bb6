//! Another ftpdirector in this network namespace, another program at our queue, and what a former one has left.

use crate::config::Config;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::kernel::ipvs::ListedService;
use crate::lvs::ServiceKey;

/// Whoever takes our packets or writes our rows beside us.
pub fn directors(facts: &Facts) -> Vec<Finding> {
    let Some(config) = &facts.config else { return Vec::new() };
    let left = facts.foreign.iter().filter_map(|listed| left(facts, listed));
    running(facts, config).into_iter().chain(queue(facts, config)).chain(left).collect()
}

/// Daemons beside the one that answers.
fn running(facts: &Facts, config: &Config) -> Option<Finding> {
    let listed = facts.directors.iter().map(|director| format!("pid {}: {}", director.pid, director.command));
    let socket = config.admin.socket.display();
    let (others, finding) = if facts.answers {
        let what = "several ftpdirector run in this network namespace";
        (facts.directors.len().saturating_sub(1), Finding::fatal(what))
    } else {
        let what = format!("an ftpdirector runs here that does not answer at {socket}");
        (facts.directors.len(), Finding::warning(what))
    };
    (others > 0).then(|| {
        let answer = if facts.answers { "one answers" } else { "nobody answers" };
        finding
            .seen(format!("{}\n{answer} at {socket}", listed.collect::<Vec<_>>().join("\n")))
            .means("all write table inet ftpdirector and IPVS: each takes the rows of the others for a change by hand, and undoes it")
            .cure("one daemon for a network namespace, with all clusters in its file: systemctl stop, or kill PID, for the others\n(if it is the same one under another file: ftpdirector doctor --config with its file)")
    })
}

/// A reader of our queue where no daemon of ours runs.
fn queue(facts: &Facts, config: &Config) -> Option<Finding> {
    let portid = facts.queue_reader.filter(|_| facts.directors.is_empty() && !facts.answers)?;
    let number = config.kernel.queue;
    Some(
        Finding::warning(format!("something reads NFQUEUE {number}, and no ftpdirector runs here"))
            .seen(format!("/proc/net/netfilter/nfnetlink_queue: {number} {portid} (mostly the id of its process)"))
            .means("`ftpdirector run` cannot have the queue (69); or a daemon in another process namespace has it")
            .cure(format!(
                "ps -p {portid}\nanother number for one of the two: `kernel.queue`\n(systemd holds the queue while a daemon that crashed is started again)"
            )),
    )
}

/// A service as we make them for data connections, to a server of ours, under a mark that is not of our ranges.
fn left(facts: &Facts, listed: &ListedService) -> Option<Finding> {
    let (ServiceKey::Mark { mark, ipv6 }, [to]) = (listed.service.key, &listed.destinations[..]) else { return None };
    let (address, mark) = (to.destination.address, mark.0);
    let (cluster, server) = facts.clusters().iter().find_map(|cluster| {
        Some((cluster, cluster.real_servers.iter().find(|server| server.address == address.ip())?))
    })?;
    (address.port() == 0).then(|| {
        let six = if ipv6 { " -6" } else { "" };
        Finding::warning(format!("another program has a firewall-mark service that leads to {}/{} alone", cluster.name, server.name))
            .seen(format!("ipvsadm -L -n: FWM {mark} (0x{mark:08x}) to {address}"))
            .means("another ftpdirector made it, or this one before `kernel.fwmark_base` was changed: with a rule that sets its mark, data connections go where that one says")
            .cure(format!("ipvsadm -D -f {mark}{six}\n(or stop the program that makes it)"))
    })
}

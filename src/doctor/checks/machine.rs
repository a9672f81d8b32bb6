//! What concerns the machine as a whole.

use super::super::facts::sysctl_cure;
use super::super::gather::wanted_modules;
use crate::config::ProblemSeverity;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;

/// Problems of the configuration file.
pub fn configuration(facts: &Facts) -> Vec<Finding> {
    let finding = |problem: &crate::config::Problem| {
        let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
        let key = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        let what = format!("{key}{}", problem.what.lines().next().unwrap_or_default());
        let finding = match problem.severity {
            ProblemSeverity::Error => {
                Finding::fatal(what).means("ftpdirector does not start, or goes on with the old file")
            }
            ProblemSeverity::Warning => Finding::warning(what),
        };
        finding.seen(place).cure(problem.cure.clone())
    };
    let unreadable = facts.unreadable.iter().map(|why| {
        Finding::fatal("there is no configuration: only what concerns every cluster was examined")
            .seen(why.clone())
            .means("`ftpdirector run` refuses to start (78)")
            .cure("write the file, or name another: ftpdirector doctor --config FILE")
    });
    unreadable.chain(facts.problems.iter().map(finding)).collect()
}

/// Files and commands that could not be read.
pub fn unseen(facts: &Facts) -> Vec<Finding> {
    let finding = |unseen: &super::super::facts::Unseen| {
        let cure = if unseen.why.contains("not permitted") || unseen.why.contains("denied") {
            "run the doctor as root".to_owned()
        } else {
            format!("try it by hand: {}", unseen.tried)
        };
        Finding::warning(format!("could not examine: {}", unseen.tried))
            .seen(unseen.why.clone())
            .means("what depends on it was not examined")
            .cure(cure)
    };
    facts.unseen.iter().map(finding).collect()
}

/// nft is at least the oldest that works (1.0.6).
pub fn versions(facts: &Facts) -> Vec<Finding> {
    missing(&facts.too_old, "nft --version")
}

/// What the rules need of the kernel, tried part by part.
pub fn features(facts: &Facts) -> Vec<Finding> {
    missing(&facts.refused, "nft -c -f -, with each part of the rules alone")
}

fn missing(found: &[(String, String)], seen: &str) -> Vec<Finding> {
    let finding = |(what, cure): &(String, String)| {
        Finding::fatal(what.clone()).seen(seen).means("`ftpdirector run` refuses to start (69)").cure(cure.clone())
    };
    found.iter().map(finding).collect()
}

/// Modules that are neither loaded nor loadable.
pub fn modules(facts: &Facts) -> Vec<Finding> {
    let missing: Vec<String> =
        wanted_modules(facts.config.as_ref()).into_iter().filter(|module| !facts.loaded.contains(module)).collect();
    let Some(loadable) = &facts.loadable else {
        if missing.is_empty() {
            return Vec::new();
        }
        let what = format!("could not prove that the kernel has {}", missing.join(", "));
        return vec![
            Finding::warning(what)
                .seen("neither in /proc/modules nor is there a modules directory for this kernel (a container?)")
                .means("`ftpdirector run` says exactly what is missing, with exit code 69")
                .cure(format!("on the host: modprobe -a {}", missing.join(" "))),
        ];
    };
    let missing: Vec<String> = missing.into_iter().filter(|module| !loadable.contains(module)).collect();
    let finding = |module: &String| {
        Finding::fatal(format!("the kernel has no {module}"))
            .seen("neither in /proc/modules nor in modules.dep or modules.builtin of the running kernel")
            .means("`ftpdirector run` refuses to start (69)")
            .cure(format!("install the kernel's full module package, then: modprobe {module}"))
    };
    missing.iter().map(finding).collect()
}

/// The kernel's helper `ip_vs_ftp` on a control port of the configuration.
pub fn helper(facts: &Facts) -> Vec<Finding> {
    let both = facts.clusters().iter().flat_map(|cluster| cluster.ports.iter().map(move |port| (cluster, port)));
    both.filter(|(_, port)| facts.helper_ports.contains(port))
        .map(|(cluster, port)| {
            Finding::fatal(format!("the kernel helper ip_vs_ftp is bound to port {port} of cluster {}", cluster.name))
                .seen(format!("/proc/net/ip_vs_app: TCP {port} … ftp"))
                .means("every PORT and 227 is handled twice; `ftpdirector run` refuses to start")
                .cure("modprobe -r ip_vs_ftp\necho blacklist ip_vs_ftp > /etc/modprobe.d/ip_vs_ftp.conf")
        })
        .collect()
}

/// A backup node that does not balance.
pub fn backup_only(facts: &Facts) -> Vec<Finding> {
    const SYSCTL: &str = "net/ipv4/vs/backup_only";
    if !facts.on(SYSCTL) {
        return Vec::new();
    }
    vec![
        Finding::fatal("IPVS takes no packet while its backup sync daemon runs")
            .seen("net.ipv4.vs.backup_only = 1")
            .means("on a node whose sync state is BACKUP clients get a reset or nothing")
            .cure(sysctl_cure([(SYSCTL, "0")])),
    ]
}

/// IPVS's defence against overload, and mid-stream adoption.
pub fn defences(facts: &Facts) -> Vec<Finding> {
    let rows = [
        ("net/ipv4/vs/sloppy_tcp", "connections may begin in the middle: a stray packet makes an entry at any server"),
        ("net/ipv4/vs/secure_tcp", "shorter timeouts under load: idle control connections end sooner"),
        ("net/ipv4/vs/drop_entry", "half-open entries are dropped when memory is short"),
        ("net/ipv4/vs/drop_packet", "packets are dropped when memory is short: slow logins and transfers"),
    ];
    let on = rows.into_iter().filter(|(sysctl, _)| facts.on(sysctl));
    on.map(|(sysctl, means)| {
        let name = sysctl.replace('/', ".");
        let value = facts.number(sysctl).unwrap_or_default();
        Finding::note(format!("{name} is on"))
            .seen(format!("{name} = {value}"))
            .means(means)
            .cure(sysctl_cure([(sysctl, "0")]))
    })
    .collect()
}

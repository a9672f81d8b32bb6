//! Reads the machine into [`Facts`]. Changes nothing; what cannot be read is a fact too.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::facts::Facts;
use super::facts::{Link, Need, Route, RoutingRule, Unseen};
use crate::config::Config;
use crate::files::{self, FileError};
use crate::kernel::ipvs::Ipvs;
use crate::kernel::nftables::Elements;
use crate::kernel::{KernelError, directors as running, listening, nft_command, queue, read_state, requirements};
use crate::lvs::ForwardingMethod;
use crate::plan::mark_index;
use crate::resolver;
use crate::state::TABLE;

/// For name servers, and for a command: nft starts its listing over whenever someone commits meanwhile.
const LIMIT: Duration = Duration::from_secs(10);
const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";
const SYSCTLS: &[&str] = &[
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/vs/backup_only",
    "net/ipv4/vs/conntrack",
    "net/ipv4/vs/conn_reuse_mode",
    "net/ipv4/vs/expire_quiescent_template",
    "net/ipv4/vs/sloppy_tcp",
    "net/ipv4/vs/sync_threshold",
    "net/ipv4/vs/sync_refresh_period",
    "net/ipv4/vs/secure_tcp",
    "net/ipv4/vs/drop_entry",
    "net/ipv4/vs/drop_packet",
    "net/netfilter/nf_conntrack_tcp_loose",
    "net/netfilter/nf_conntrack_helper",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
];

/// The modules that a configuration needs.
pub fn wanted_modules(config: Option<&Config>) -> BTreeSet<String> {
    let mut wanted: BTreeSet<String> =
        ["ip_vs", "nf_tables", "nfnetlink_queue", "nft_queue", "nfnetlink_log", "nft_log"].map(String::from).into();
    let clusters = config.map_or(&[][..], |config| &config.clusters);
    wanted.extend(clusters.iter().map(|cluster| format!("ip_vs_{}", cluster.scheduler)));
    if clusters.iter().any(|cluster| cluster.forwarding == ForwardingMethod::Nat) {
        wanted.extend(["nf_conntrack", "nf_nat", "nft_chain_nat", "nft_nat", "nft_ct"].map(String::from));
    }
    wanted
}

/// Everything, for the configuration in `file`.
#[must_use]
pub fn gather(file: &Path) -> Facts {
    let mut facts = Facts::default();
    configuration(&mut facts, file);
    let mut facts = machine(facts);
    features(&mut facts);
    facts
}

/// Everything, for a configuration that is in force: the rules that stand have proved what the kernel takes.
#[must_use]
pub fn gather_for(config: &Config) -> Facts {
    machine(Facts { config: Some(config.clone()), ..Facts::default() })
}

/// What files under `/proc/sys` tell, for a configuration that is in force: no other program is asked.
#[must_use]
pub fn gather_settings(config: &Config) -> Facts {
    let mut facts = Facts { config: Some(config.clone()), ..Facts::default() };
    sysctls(&mut facts);
    facts
}

fn machine(mut facts: Facts) -> Facts {
    modules(&mut facts);
    versions(&mut facts);
    links(&mut facts);
    routes(&mut facts);
    sysctls(&mut facts);
    facts.helper_ports = seen(&mut facts, Need::Helpers, "cat /proc/net/ip_vs_app", requirements::ip_vs_ftp_ports());
    facts.listening = seen(&mut facts, Need::Listening, "ss -ltn", listening::ports());
    if let Err(error) = requirements::net_admin() {
        facts.unseen.push(untried(Need::Rules, "nft list ruleset", &error));
        facts.unseen.push(untried(Need::Services, "ipvsadm -L -n", &error));
    } else {
        rules(&mut facts);
        services(&mut facts);
    }
    keepalived(&mut facts, Path::new(KEEPALIVED), 0);
    directors(&mut facts);
    facts
}

/// Who else does what we do here.
fn directors(facts: &mut Facts) {
    let Some((socket, queue)) = facts.config.as_ref().map(|config| (config.admin.socket.clone(), config.kernel.queue))
    else {
        return;
    };
    facts.directors = seen(facts, Need::Directors, "ls -l /proc/*/ns/net", running::running());
    let own = facts.directors.iter().any(|director| director.pid == std::process::id());
    let tried = format!("curl --unix-socket {} http://ftpdirector/ping", socket.display());
    facts.answers = own || seen(facts, Need::Directors, &tried, running::answers(&socket));
    let tried = "cat /proc/net/netfilter/nfnetlink_queue";
    facts.queue_reader = seen(facts, Need::Directors, tried, queue::reader(queue));
}

/// What was read; where it could not be, nothing, and that is a fact.
fn seen<T: Default>(facts: &mut Facts, need: Need, tried: &str, read: std::io::Result<T>) -> T {
    read.unwrap_or_else(|error| {
        facts.unseen.push(Unseen { need: Some(need), tried: tried.into(), why: error.to_string() });
        T::default()
    })
}

fn configuration(facts: &mut Facts, file: &Path) {
    match files::read(file) {
        Ok(parsed) => {
            let answers = resolver::all(&parsed.by_name.hosts(), LIMIT);
            let resolved = resolver::resolve(&parsed, &answers, None, &BTreeSet::new());
            (facts.config, facts.problems) = (Some(resolved.config), parsed.warnings);
        }
        Err(FileError::Wrong { problems, .. }) => facts.problems = problems.list,
        Err(unreadable) => facts.unreadable = Some(unreadable.to_string()),
    }
}

/// Loaded: a directory under /sys/module, which built-in modules with parameters have too. Loadable: named by
/// modules.dep; built in: by modules.builtin.
fn modules(facts: &mut Facts) {
    let wanted = wanted_modules(facts.config.as_ref());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    let release = seen(facts, Need::Modules, "uname -r", release);
    let folders = ["/lib/modules", "/usr/lib/modules"].map(|folder| Path::new(folder).join(release.trim()));
    let list = |name: &str| folders.iter().find_map(|folder| fs::read_to_string(folder.join(name)).ok());
    // `kernel/net/netfilter/ipvs/ip_vs.ko.xz: …`, `kernel/net/netfilter/nf_tables.ko`.
    let names = |text: String| -> BTreeSet<String> {
        let files = text.lines().filter_map(|line| {
            line.split(':').next()?.rsplit('/').next()?.split(".ko").next().map(|name| name.replace('-', "_"))
        });
        files.filter(|name| wanted.contains(name)).collect()
    };
    facts.loaded = wanted.iter().filter(|name| Path::new("/sys/module").join(name).is_dir()).cloned().collect();
    facts.loaded.extend(list("modules.builtin").map(&names).unwrap_or_default());
    facts.loadable = list("modules.dep").map(&names);
}

fn versions(facts: &mut Facts) {
    match nft_command::nft_version() {
        Ok(_) => {}
        Err(KernelError::Missing { what, cure }) => facts.too_old.push((what, cure)),
        Err(other) => facts.unseen.push(untried(Need::Versions, "nft --version", &other)),
    }
}

fn features(facts: &mut Facts) {
    // Without nft nothing is refused, and nothing proved.
    if let Err(error) = nft_command::nft_version() {
        facts.unseen.push(untried(Need::Features, "nft -c -f -", &error));
        return;
    }
    let methods: Vec<_> = facts.clusters().iter().map(|cluster| cluster.forwarding).collect();
    let refused = match requirements::net_admin() {
        Ok(()) => requirements::refused_features(&methods),
        Err(error) => vec![error],
    };
    for error in refused {
        match error {
            KernelError::Missing { what, cure } => facts.refused.push((what, cure)),
            other => facts.unseen.push(untried(Need::Features, "nft -c -f -", &other)),
        }
    }
}

fn untried(need: Need, tried: &str, error: &KernelError) -> Unseen {
    Unseen { need: Some(need), tried: tried.into(), why: error.to_string() }
}

fn links(facts: &mut Facts) {
    for link in listed(facts, Need::Network, &["ip", "-j", "-d", "address", "show"]) {
        let addresses = link["addr_info"].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(|address| {
            let length = u8::try_from(address["prefixlen"].as_u64()?).ok()?;
            Some((address["local"].as_str()?.parse().ok()?, length))
        });
        let up = link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
        facts.links.push(Link {
            name: link["ifname"].as_str().unwrap_or_default().to_owned(),
            mtu: link["mtu"].as_u64().and_then(|mtu| mtu.try_into().ok()).unwrap_or(1500),
            up,
            bridge: link["linkinfo"]["info_kind"] == "bridge",
            addresses: addresses.collect(),
        });
    }
}

fn routes(facts: &mut Facts) {
    for (ipv6, family) in [(false, "-4"), (true, "-6")] {
        for route in listed(facts, Need::Network, &["ip", "-j", family, "route", "show", "default"]) {
            let hops = route["nexthops"].as_array().cloned().unwrap_or_default();
            let devices = hops.iter().chain(std::iter::once(&route)).filter_map(|hop| hop["dev"].as_str());
            facts.defaults.extend(devices.map(|device| (ipv6, device.to_owned())));
        }
        for rule in listed(facts, Need::Network, &["ip", "-j", family, "rule", "show"]) {
            if !matches!(rule["table"].as_str(), Some("local" | "main" | "default")) || rule.get("fwmark").is_some() {
                facts.policies.push(policy(&rule));
            }
        }
    }
    let clusters = facts.clusters().iter();
    let addresses: BTreeSet<IpAddr> = clusters
        .flat_map(|cluster| {
            cluster.vips.iter().copied().chain(cluster.real_servers.iter().map(|server| server.address))
        })
        .collect();
    for address in addresses {
        // Fails where there is no route: a fact by itself.
        match run(&["ip", "-j", "route", "get", &address.to_string()]) {
            Ok(text) => {
                facts.routes_known = true;
                let route = serde_json::from_str(&text).map_err(std::io::Error::from);
                let route: Value = seen(facts, Need::Network, &format!("ip -j route get {address}"), route);
                let route = &route[0];
                if let Some(device) = route["dev"].as_str() {
                    let gateway = route["gateway"].as_str().or_else(|| route["via"]["host"].as_str());
                    facts.routes.insert(
                        address,
                        Route {
                            device: device.to_owned(),
                            gateway: gateway.and_then(|text| text.parse().ok()),
                            local: route["type"] == "local",
                            source: route["prefsrc"].as_str().and_then(|text| text.parse().ok()),
                        },
                    );
                }
            }
            Err(why) if why.contains("unreachable") || why.contains("No route") || why.contains("prohibited") => {
                facts.routes_known = true
            }
            Err(why) => {
                facts.unseen.push(Unseen { need: Some(Need::Network), tried: format!("ip route get {address}"), why })
            }
        }
    }
}

fn policy(rule: &Value) -> RoutingRule {
    let number = |text: &Value| u32::from_str_radix(text.as_str()?.trim_start_matches("0x"), 16).ok();
    let mark = number(&rule["fwmark"]).map(|mark| (mark, number(&rule["fwmask"]).unwrap_or(u32::MAX)));
    let words = rule.as_object().into_iter().flatten().map(|(key, value)| match value {
        Value::String(text) => format!("{key} {text}"),
        other => format!("{key} {other}"),
    });
    RoutingRule { mark, text: words.collect::<Vec<_>>().join(" ") }
}

fn sysctls(facts: &mut Facts) {
    let names = facts.links.iter().map(|link| link.name.as_str()).chain(["all"]);
    let of_links = names.flat_map(|name| {
        ["rp_filter", "send_redirects", "accept_local"].map(|key| format!("net/ipv4/conf/{name}/{key}"))
    });
    for sysctl in SYSCTLS.iter().map(|&name| name.to_owned()).chain(of_links).collect::<Vec<_>>() {
        match fs::read_to_string(Path::new("/proc/sys").join(&sysctl)) {
            Ok(text) => {
                facts.sysctls.insert(sysctl, text.trim().to_owned());
            }
            // IPVS's and conntrack's come with their modules.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => facts.unseen.push(Unseen {
                need: Some(Need::Sysctls),
                tried: format!("cat /proc/sys/{sysctl}"),
                why: error.to_string(),
            }),
        }
    }
}

/// Table by table, without ours: it may be large, and it changes all the time.
fn rules(facts: &mut Facts) {
    let tables = listed(facts, Need::Rules, &["nft", "-j", "list", "tables"]);
    for table in tables.iter().filter_map(|object| object.get("table")) {
        let (Some(family), Some(name)) = (table["family"].as_str(), table["name"].as_str()) else { continue };
        if format!("{family} {name}") == TABLE {
            continue;
        }
        let json = run(&["nft", "-j", "list", "table", family, name]);
        let text = run(&["nft", "-a", "-t", "list", "table", family, name]).unwrap_or_default();
        match json.map(|json| serde_json::from_str::<Value>(&json)) {
            Ok(Ok(json)) => facts.ruleset.add(&json, &text),
            Ok(Err(error)) => facts.unseen.push(Unseen {
                need: Some(Need::Rules),
                tried: format!("nft -j list table {family} {name}"),
                why: error.to_string(),
            }),
            Err(why) => facts.unseen.push(Unseen {
                need: Some(Need::Rules),
                tried: format!("nft -j list table {family} {name}"),
                why,
            }),
        }
    }
    for (names, save) in [("ip_tables_names", "iptables-legacy-save"), ("ip6_tables_names", "ip6tables-legacy-save")] {
        let there = match fs::read_to_string(Path::new("/proc/net").join(names)) {
            // It comes with its module.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        if !seen(facts, Need::Rules, &format!("cat /proc/net/{names}"), there).trim().is_empty() {
            match run(&[save]) {
                Ok(text) => facts.legacy.extend(text.lines().map(str::to_owned)),
                Err(why) => facts.unseen.push(Unseen { need: Some(Need::Rules), tried: save.into(), why }),
            }
        }
    }
}

fn services(facts: &mut Facts) {
    // Asking for IPVS would load it; what is not loaded has no services.
    if !Path::new("/proc/net/ip_vs").exists() {
        return;
    }
    let Some(config) = &facts.config else { return };
    let marks = mark_index::marks(config);
    let read = || {
        let table = read_state::table(&mut Elements::connect()?, None)?;
        let mut ipvs = Ipvs::connect()?;
        Ok::<_, KernelError>((read_state::read(&mut ipvs, &table, marks, &BTreeSet::new())?.1, ipvs.sync_daemons()?))
    };
    match read() {
        Ok((foreign, daemons)) => (facts.foreign, facts.sync_daemons) = (foreign, daemons),
        Err(error) => facts.unseen.push(Unseen {
            need: Some(Need::Services),
            tried: "ipvsadm -L -n".into(),
            why: error.to_string(),
        }),
    }
}

/// A file of keepalived's and those that it includes, as far as their names are plain or end in a `*` pattern.
fn keepalived(facts: &mut Facts, file: &Path, depth: usize) {
    if depth >= 8 || facts.keepalived.iter().any(|(name, _)| Path::new(name) == file) {
        return;
    }
    let text = match fs::read_to_string(file) {
        // keepalived is not here, or does without what it includes.
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        other => seen(facts, Need::Keepalived, &format!("cat {}", file.display()), other),
    };
    let included: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("include"))
        // include, includer (must be readable), includem, includew, includeb.
        .filter_map(|rest| rest.split_whitespace().nth(usize::from(!rest.starts_with(char::is_whitespace))))
        .flat_map(|name| expand(&file.parent().unwrap_or(Path::new("/")).join(name)))
        .collect();
    facts.keepalived.push((file.display().to_string(), text));
    for path in included {
        keepalived(facts, &path, depth + 1);
    }
}

/// `DIR/START*END` → the files; anything else is itself.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (Some((start, end)), Some(folder)) = (name.split_once('*'), pattern.parent()) else {
        return vec![pattern.to_owned()];
    };
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with(start) && name.ends_with(end)
            })
        })
        .collect();
    files.sort();
    files
}

/// The JSON that a command prints; a failure is noted.
fn listed(facts: &mut Facts, need: Need, command: &[&str]) -> Vec<Value> {
    // ip prints nothing at all for an empty list of routes.
    let parsed = run(command).and_then(|text| {
        let text = if text.trim().is_empty() { "[]" } else { &text };
        serde_json::from_str::<Value>(text).map_err(|error| error.to_string())
    });
    match parsed {
        Ok(Value::Array(items)) => items,
        Ok(mut value) => value["nftables"].as_array_mut().map(std::mem::take).unwrap_or_default(),
        Err(why) => {
            facts.unseen.push(Unseen { need: Some(need), tried: command.join(" "), why });
            Vec::new()
        }
    }
}

/// Runs a command that only looks; its output, or why there is none.
fn run(command: &[&str]) -> Result<String, String> {
    let [program, arguments @ ..] = command else { return Err("no command".into()) };
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("the program {program} is not in PATH"),
            _ => error.to_string(),
        })?;
    let (mut out, mut said) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let out = scope.spawn(move || text(out.as_mut()));
        let said = scope.spawn(move || text(said.as_mut()));
        let end = Instant::now() + LIMIT;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break Err(format!("no answer within {} s", LIMIT.as_secs()));
                }
                Err(error) => break Err(error.to_string()),
            }
        };
        let (out, said) = (out.join().unwrap_or_default(), said.join().unwrap_or_default());
        match status? {
            status if status.success() => Ok(out),
            status if said.trim().is_empty() => Err(status.to_string()),
            _ => Err(said.trim().to_owned()),
        }
    })
}

fn text(pipe: Option<&mut impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What came before an error is worth having.
        let _ = pipe.take(64 << 20).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

//! What is written about the program is true of it: manual pages, documents, alerts and dashboard.

#![expect(clippy::unwrap_used, reason = "a test says what it expected")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use ftpdirector::facade::cli::Cli;
use ftpdirector::facade::config;
use ftpdirector::facade::daemon::METRICS;
use serde::Deserialize as _;
use serde_yaml::Value;

const PAGE: &str = "deploy/man/ftpdirector.8.in";
const FILE_PAGE: &str = "deploy/man/ftpdirector.yaml.5.in";
const MANIFESTS: &str = "deploy/kubernetes/daemonset.yaml";
const PLAY: &str = "deploy/ansible/site.yml";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words that begin right after each `before`.
fn words(text: &str, before: &str) -> BTreeSet<String> {
    let word = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    text.match_indices(before).map(|(at, found)| word(&text[at + found.len()..])).collect()
}

/// Every name of a metric in a text; those of a histogram's parts are its own.
fn metrics(text: &str) -> BTreeSet<String> {
    let names = words(text, "ftpdirector_").into_iter().filter(|name| !name.is_empty());
    names.map(|name| format!("ftpdirector_{}", name.trim_end_matches("_bucket"))).collect()
}

fn difference(these: &BTreeSet<String>, those: &BTreeSet<String>) -> Vec<String> {
    these.difference(those).cloned().collect()
}

#[test]
fn every_key_of_the_file_is_described_and_no_other() {
    let source = read("src/config/file.rs");
    let readers =
        ["or", "or_off", "optional", "required", "list", "required_list", "section", "sections", "optional_section"];
    let keys: BTreeSet<String> = readers.iter().flat_map(|reader| words(&source, &format!(".{reader}(\""))).collect();
    assert!(keys.len() > 40, "only {} keys found: this test no longer sees the code", keys.len());
    let described = words(&read(FILE_PAGE), ".It Cm ");
    assert_eq!(difference(&keys, &described), [""; 0], "not in {FILE_PAGE}");
    assert_eq!(difference(&described, &keys), [""; 0], "in {FILE_PAGE}, and no key");
}

#[test]
fn every_path_of_the_admin_socket_is_described_and_no_other() {
    let paths = words(&read("src/daemon/admin/mod.rs"), "\"/");
    assert!(paths.len() > 7, "only {paths:?} found: this test no longer sees the code");
    let page = read(PAGE);
    let described: BTreeSet<String> = ["GET /", "POST /"].iter().flat_map(|method| words(&page, method)).collect();
    assert_eq!(difference(&paths, &described), [""; 0], "not in {PAGE}");
    assert_eq!(difference(&described, &paths), [""; 0], "in {PAGE}, and no path");
}

/// Scripts go by their names.
#[test]
fn every_verdict_of_explain_is_described() {
    let verdicts = words(&read("src/explain/verdict.rs"), "=> \"");
    assert!(verdicts.len() > 20, "only {verdicts:?} found: this test no longer sees the code");
    let page = read(PAGE);
    let page = page.split(".Sh TROUBLESHOOTING").nth(1).unwrap_or_default();
    let described = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned).collect();
    assert_eq!(difference(&verdicts, &described), [""; 0], "not in {PAGE}");
}

/// They are set by measuring: what is written must not stay behind.
#[test]
fn the_limits_are_those_of_the_program() {
    let file = "clusters: [{name: a, vips: [192.0.2.10], forwarding: nat, real_servers: [{address: 10.0.0.11}]}]\n";
    let limits = config::parse(file, "defaults.yaml").unwrap_or_else(|problems| panic!("{problems}")).config.limits;
    let page = read(FILE_PAGE);
    for (key, default) in [
        ("sessions", limits.sessions),
        ("line", limits.line),
        ("connection_packets", limits.connection_packets.try_into().unwrap()),
        ("client_packets", limits.client_packets.try_into().unwrap()),
        ("client_connections", limits.client_connections.try_into().unwrap()),
        ("client_sessions", limits.client_sessions.try_into().unwrap()),
        ("memory", limits.memory),
    ] {
        let item = format!(".It Cm {key}\n");
        let described = page.split(&item).nth(1).unwrap_or_else(|| panic!("{key} is not in {FILE_PAGE}"));
        let described = described.split("\n.It ").next().unwrap_or_default();
        assert!(described.contains(&format!("\nDefault {default}.")), "{key}, by default {default}:\n{described}");
    }
}

#[test]
fn every_metric_is_described_and_no_other() {
    let described = metrics(&read(PAGE));
    let served = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(difference(&served, &described), [""; 0], "not in {PAGE}");
    assert_eq!(difference(&described, &served), [""; 0], "in {PAGE}, and not served");
    for user in ["deploy/prometheus/alerts.yaml", "deploy/prometheus/alerts.test.yaml", "deploy/grafana/dashboard.json"]
    {
        let used = metrics(&read(user));
        assert!(!used.is_empty(), "{user} uses no metric: this test no longer sees them");
        assert_eq!(difference(&used, &described), [""; 0], "{user} uses what is not in {PAGE}");
    }
}

#[test]
fn every_metric_is_described_with_its_labels() {
    let page = read(PAGE);
    for metric in METRICS {
        let named =
            |line: &&str| line.starts_with(".It Li ftpdirector_") && line.split(' ').any(|word| word == metric.name);
        let item = page.lines().find(named).unwrap_or_else(|| panic!("{} is not in {PAGE}", metric.name));
        let described: Vec<&str> =
            item.split_once(" Brq ").map_or(Vec::new(), |(_, labels)| labels.split(" , ").collect());
        assert_eq!(described, metric.labels, "{}", metric.name);
    }
}

/// Where GitHub shows the project's documents.
const RUNBOOK: &str = "/blob/main/docs/alerts.md#";

#[test]
fn every_alert_leads_to_its_section_and_every_section_is_an_alerts() {
    let alerts = read("deploy/prometheus/alerts.yaml");
    let named: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 10, "only {named:?} found: this test no longer sees them");
    let urls: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: ")).collect();
    // A heading's anchor is its text in small letters.
    let url = |name: &&str| format!("{}{RUNBOOK}{}", env!("CARGO_PKG_REPOSITORY"), name.to_lowercase());
    assert_eq!(urls, named.iter().map(url).collect::<Vec<_>>());
    let page = read("docs/alerts.md");
    let mut sections = page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap_or((section, "")));
    let titles: Vec<&str> = sections.clone().map(|(title, _)| title).collect();
    assert_eq!(titles, named, "docs/alerts.md");
    let whole = |text: &str| ["**Means.**", "**Run.**", "**Cure.**"].iter().all(|part| text.contains(part));
    let unfinished = sections.find(|(_, text)| !whole(text));
    assert!(unfinished.is_none(), "{unfinished:?}");
}

/// A runbook that names a command, a key or a check that does not exist helps nobody.
#[test]
fn the_runbook_names_what_there_is() {
    let runbook = read("docs/alerts.md");
    let commands = words(&runbook, "`ftpdirector ");
    assert!(commands.len() > 5, "only {commands:?} found: this test no longer sees them");
    for command in commands {
        assert!(Cli::command().find_subcommand(&command).is_some(), "ftpdirector {command}");
    }
    let served: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(difference(&metrics(&runbook), &served), [""; 0], "docs/alerts.md names what is not served");
}

#[test]
fn the_dashboard_is_json() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana/dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 20));
}

/// Blocks between a line that starts with `open` and one that is `close`, which describe clusters.
fn configurations<'t>(text: &'t str, open: &'t str, close: &'t str) -> impl Iterator<Item = String> + 't {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        lines.by_ref().find(|line| line.starts_with(open))?;
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != close).collect();
        Some(block.join("\n") + "\n")
    })
    .filter(|block| block.contains("clusters:"))
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(&read(path)).map(Value::deserialize).collect::<Result<_, _>>();
    documents.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The one document of the Kubernetes example that has this kind.
fn manifest(kind: &str) -> Value {
    let mut found = yaml(MANIFESTS).into_iter().filter(|document| document["kind"] == kind);
    let document = found.next().unwrap_or_else(|| panic!("no {kind} in {MANIFESTS}"));
    assert!(found.next().is_none(), "two of {kind} in {MANIFESTS}");
    document
}

/// The configuration in the Kubernetes example.
fn config_map() -> String {
    manifest("ConfigMap")["data"]["config.yaml"].as_str().unwrap().to_owned()
}

/// The configuration in the play, as the role writes it.
fn play_variable() -> String {
    serde_yaml::to_string(&yaml(PLAY)[0][0]["vars"]["ftpdirector_config"]).unwrap()
}

#[test]
fn every_configuration_in_the_documents_loads() {
    let pages =
        [PAGE, FILE_PAGE].map(|page| (page, configurations(&read(page), ".Bd -literal", ".Ed").collect::<Vec<_>>()));
    let documents = ["README.md", "examples/MIGRATING.md"];
    let documents = documents.map(|page| (page, configurations(&read(page), "```yaml", "```").collect()));
    let files = ["deploy/config.yaml", "deploy/keepalived/config.yaml", "deploy/ecmp/config.yaml"];
    let files = files.map(|file| (file, vec![read(file)]));
    let embedded = [(MANIFESTS, vec![config_map()]), (PLAY, vec![play_variable()])];
    for (page, found) in pages.into_iter().chain(documents).chain(files).chain(embedded) {
        assert!(!found.is_empty(), "{page} shows no configuration: this test no longer sees it");
        for text in found {
            let parsed = config::parse(&text, page).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
            assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        }
    }
}

/// The lines of a file that are neither empty nor a comment.
fn settings(path: &str) -> Vec<String> {
    let text = read(path);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// Its first container does to a node what the packages do to a machine.
#[test]
fn a_node_of_kubernetes_is_set_up_as_a_package_would() {
    let pod = &manifest("DaemonSet")["spec"]["template"]["spec"];
    let script = pod["initContainers"][0]["command"][2].as_str().unwrap();
    let loaded: BTreeSet<&str> = script.split_whitespace().collect();
    for module in settings("deploy/modules-load.d/ftpdirector.conf") {
        assert!(loaded.contains(module.as_str()), "{module} is not loaded by {MANIFESTS}");
    }
    for setting in settings("deploy/sysctl.d/60-ftpdirector.conf") {
        let (name, value) = setting.split_once(" = ").unwrap();
        let command = format!("echo {value} > /proc/sys/{}\n", name.replace('.', "/"));
        assert!(script.contains(&command), "{setting} is not set by {MANIFESTS}");
    }
}

/// The unit's, and no others.
#[test]
fn a_pod_has_the_capabilities_of_the_unit() {
    let pod = &manifest("DaemonSet")["spec"]["template"]["spec"];
    let capabilities = &pod["containers"][0]["securityContext"]["capabilities"];
    let names = |list: &Value| -> BTreeSet<String> {
        list.as_sequence().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let unit = settings("deploy/ftpdirector.service");
    let bounds = unit.iter().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let bounds = bounds.split(' ').map(|name| name.trim_start_matches("CAP_").to_owned()).collect();
    assert_eq!(names(&capabilities["drop"]), BTreeSet::from(["ALL".to_owned()]));
    assert_eq!(names(&capabilities["add"]), bounds);
    assert_eq!(pod["hostNetwork"], true, "IPVS and nftables are the host's");
}

/// Cargo.toml has the version; what names one elsewhere names this.
#[test]
fn the_version_is_the_same_everywhere() {
    let changes = read("CHANGELOG.md");
    let heading = format!("## {VERSION} - ");
    assert!(changes.lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md has no section for {VERSION}");
    let mut seen = 0;
    for path in [MANIFESTS, PLAY, "deploy/kubernetes/README.md", "deploy/rpm/README.md", "README.md"] {
        let text = read(path);
        let names = ["ftpdirector:", "ftpdirector_", "ftpdirector-"];
        for (at, name) in names.iter().flat_map(|name| text.match_indices(name)) {
            let named = &text[at + name.len()..];
            if named.starts_with(|c: char| c.is_ascii_digit()) {
                assert!(named.starts_with(VERSION), "{path}: {name}{}", named.lines().next().unwrap_or_default());
                seen += 1;
            }
        }
    }
    assert!(seen > 6, "only {seen} versions found: this test no longer sees them");
}

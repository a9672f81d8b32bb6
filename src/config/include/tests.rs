use proptest::prelude::*;

use super::*;
use crate::config::tests::{FULL, mutated};
use crate::config::{Config, Parsed, Problems, includes, parse, parse_files};

/// The files `0.yaml`, `1.yaml`, … that the main one includes.
fn read(main: &str, texts: &[&str]) -> Result<Parsed, Problems> {
    let file = |(item, text): (usize, &&str)| Included {
        item,
        file: format!("{item}.yaml"),
        content: Ok(text.as_bytes().to_vec()),
    };
    let included: Vec<Included> = texts.iter().enumerate().map(file).collect();
    parse_files(main.as_bytes(), "main.yaml", &included)
}

/// Where something is wrong, and with what.
fn wrong(main: &str, texts: &[&str]) -> Vec<String> {
    let problems = read(main, texts).map_or_else(|problems| problems.list, |parsed| parsed.warnings);
    problems.into_iter().map(|p| format!("{}:{}: {}: {}", p.file, p.line, p.path, p.what)).collect()
}

fn cluster(name: &str, number: u8) -> String {
    format!(
        "{{name: {name}, vips: [192.0.2.{number}], forwarding: nat, real_servers: [{{address: 10.0.0.{number}, passive_ports: 31000-31999}}]}}"
    )
}

fn config(parsed: Result<Parsed, Problems>) -> Config {
    parsed.unwrap_or_else(|problems| panic!("{problems}")).config
}

/// A file that is taken apart says the same.
#[test]
fn clusters_of_several_files_are_as_those_of_one() {
    let [a, b, c] = [cluster("a", 1), cluster("b", 2), cluster("c", 3)];
    let whole = config(parse(&format!("clusters: [{a}, {b}, {c}]\n"), "main.yaml"));
    let include = "include: ['*.yaml']\n";
    for (main, texts) in [
        (format!("clusters: [{a}]\n{include}"), vec![format!("clusters: [{b}]"), format!("clusters: [{c}]")]),
        (format!("{include}clusters: [{a}, {b}]\n"), vec![String::new(), format!("clusters: [{c}]")]),
        (include.to_owned(), vec![format!("clusters: [{a}, {b}]"), "{}".to_owned(), format!("clusters: [{c}]")]),
        (include.to_owned(), vec![format!("\u{feff}clusters: [{a}, {b}, {c}]")]),
    ] {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(config(read(&main, &texts)), whole, "{main}{texts:?}");
    }
}

#[test]
fn defaults_are_for_the_clusters_of_all_files() {
    let main = "defaults: {idle: 2h}\ninclude: ['*.yaml']\n";
    let one = format!("clusters: [{}]", cluster("a", 1));
    assert!(config(read(main, &[&one])).clusters[0].idle_control.is_some());
    // What is wrong with it stands in the main file.
    assert_eq!(
        wrong("defaults: {idle: 2}\ninclude: ['*.yaml']\n", &[&one]),
        ["main.yaml:1: defaults.idle: the duration \"2\" has no unit"]
    );
}

#[test]
fn a_problem_stands_in_its_file_under_its_path_there() {
    let main = format!("include: [a.yaml, b.yaml]\nclusters: [{}, {}]\n", cluster("a", 1), cluster("b", 2));
    let first = "# …\nclusters:\n  - {name: c, vips: [192.0.2.3], vips: [192.0.2.4], forwarding: nat, real_servers: [{address: x.7}]}\n";
    let second = format!("clusters: [\n  {},\n  {}\n  ]\n", cluster("d", 5), cluster("D", 6));
    assert_eq!(
        wrong(&main, &[first, &second]),
        [
            "0.yaml:3: clusters[0].vips: the key stands here twice; first on line 3",
            "0.yaml:3: clusters[0].real_servers[0].address: \"x.7\" is no IP address, and no name of a host",
            "1.yaml:3: clusters[1].name: \"D\" is not a cluster name",
        ]
    );
}

#[test]
fn the_other_place_is_named_with_its_file() {
    let main = format!("include: [a.yaml]\nclusters: [{}]\n", cluster("a", 1));
    let other = format!("clusters: [{}, {}]\n", cluster("b", 1), cluster("a", 3));
    let said = wrong(&main, &[&other]);
    assert_eq!(
        said,
        [
            "0.yaml:1: clusters[0].ports[0]: port 21 of 192.0.2.1 belongs to a (clusters[0] in main.yaml)",
            "0.yaml:1: clusters[0].real_servers[0].passive_ports: 31000-31999 overlaps 31000-31999 of a in main.yaml behind the same VIP 192.0.2.1",
            "0.yaml:1: clusters[1].name: the name \"a\" is that of clusters[0] in main.yaml",
        ]
    );
}

/// What could not be read in one file is not taken for the cluster of the same number in another.
#[test]
fn a_mistake_in_one_file_hides_none_in_another() {
    let main =
        format!("include: [a.yaml]\nclusters: [{}]\n", cluster("a", 1).replace("192.0.2.1", "192.0.2.1, 192.0.2.1"));
    for other in ["clusters: [{name: &x b}]", "clusters: [{name: b, vips: [x]}]", "clusters: []", "clusters: x", "- a"]
    {
        let said = wrong(&main, &[other]);
        let twice = "main.yaml:2: clusters[0].vips[1]: the VIP 192.0.2.1 stands here twice";
        assert!(said.len() > 1 && said.iter().any(|said| said == twice), "{other}: {said:#?}");
    }
}

#[test]
fn an_included_file_has_clusters_alone() {
    let main = format!("include: [a.yaml]\nclusters: [{}]\n", cluster("a", 1));
    for key in OF_THE_MAIN_FILE.keys {
        assert_eq!(
            wrong(&main, &[&format!("{key}: {{}}\n")]),
            [format!("0.yaml:1: {key}: belongs in the main file: an included file has `clusters:` alone")]
        );
    }
    assert_eq!(wrong(&main, &["cluster: []"]), ["0.yaml:1: cluster: unknown key \"cluster\""]);
}

#[test]
fn items_are_names_or_patterns_for_names() {
    let pattern = |text: &str| {
        let text = format!("include: [{text}]\n");
        includes(text.as_bytes()).pop().map(|found| {
            let directory = found.directory.display().to_string();
            (directory, found.name.clone(), found.pattern.is_some())
        })
    };
    let good = |directory: &str, name: &str, wild| Some((directory.to_owned(), name.to_owned(), wild));
    assert_eq!(pattern("clusters.d/*.yaml"), good("clusters.d", "*.yaml", true));
    assert_eq!(pattern("a.yaml"), good("", "a.yaml", false));
    assert_eq!(pattern("/a.yaml"), good("/", "a.yaml", false));
    assert_eq!(pattern("'/etc/x/[ab]?.yaml'"), good("/etc/x", "[ab]?.yaml", true));
    for text in
        ["''", "'a/'", "/", "..", "'a/..'", "'*/a.yaml'", "'**/a.yaml'", "'a/[b'", "'***'", "\"a\\nb\"", "[a]", "null"]
    {
        assert_eq!(pattern(text), None, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1000), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to several files, the answer is a configuration or problems that can be shown, in the lines that there are.
    #[test]
    fn no_files_panic(main in mutated(), other in mutated()) {
        let main = format!("{main}\ninclude: [0.yaml, 1.yaml]\n");
        let _ = includes(main.as_bytes());
        if let Err(problems) = read(&main, &[&other, FULL]) {
            let _ = problems.to_string();
            let lines = |text: &str| text.matches(['\n', '\r']).count() + 2;
            for problem in &problems.list {
                let text = match problem.file.as_str() {
                    "main.yaml" => main.as_str(),
                    "0.yaml" => other.as_str(),
                    _ => FULL,
                };
                prop_assert!((1..=lines(text)).contains(&problem.line), "{}", problem);
            }
        }
    }
}

/// What stands behind a place that is no YAML is not missed in the clusters of other files.
#[test]
fn what_the_main_file_lacks_by_its_syntax_is_not_missed_in_the_others() {
    let bare = cluster("a", 1).replace("forwarding: nat, ", "");
    let tab = "not YAML: a tab in the indentation";
    for (main, at) in [
        ("include: ['*.yaml']\ndefaults:\n  idle: 2h\n\tforwarding: nat\n", 4),
        ("include: ['*.yaml']\nlog:\n\tlevel: info\ndefaults:\n  forwarding: nat\n", 3),
        ("include: ['*.yaml']\ndefaults:\n  forwarding: nat\n  health_check:\n    kind: login\n\tuser: probe\n", 6),
    ] {
        assert_eq!(wrong(main, &[&format!("clusters: [{bare}]")]), [format!("main.yaml:{at}: : {tab}")], "{main}");
    }
    let missed = "0.yaml:1: clusters[0].forwarding: required, and missing";
    assert_eq!(wrong("include: ['*.yaml']\nlog:\n\tlevel: info\n", &[&format!("clusters: [{bare}]")]).len(), 2);
    assert_eq!(wrong("include: ['*.yaml']\n", &[&format!("clusters: [{bare}]")]), [missed]);
}

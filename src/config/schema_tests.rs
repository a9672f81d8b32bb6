//! The JSON Schema says of a file's shape what the parser says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::misplaced::misplaced;
use super::problem::{Collector, Source};
use super::section::Section;
use super::{Parsed, SCHEMA, defaults, effective, file, parse, tree};

/// Every section is there.
const SMALL: &str = r#"{"clusters": [{"name": "a", "vips": ["192.0.2.10"], "forwarding": "nat", "real_servers": [{"address": "10.0.0.11"}]}],
    "kernel": {"timeouts": {}}}"#;

/// What the parser refuses and the schema does not: it cannot count ports, add up durations or read addresses.
const LAX: &[(&str, &str)] = &[
    ("clusters[].health_check.interval", "\"25d\""),
    ("clusters[].health_check.timeout", "\"25d\""),
    ("clusters[].pinhole_timeout", "\"25d\""),
    ("clusters[].persistence", "\"25d\""),
    ("clusters[].idle", "\"25d\""),
    ("clusters[].slow_start", "\"1h30m\""),
    ("kernel.timeouts.tcp", "\"25d\""),
    ("kernel.timeouts.tcp_fin", "\"25d\""),
    ("kernel.timeouts.udp", "\"25d\""),
    ("clusters[].persistence", "\"1m 500ms\""),
    ("kernel.timeouts.tcp", "\"1m 500ms\""),
    ("kernel.timeouts.tcp_fin", "\"1m 500ms\""),
    ("kernel.timeouts.udp", "\"1m 500ms\""),
    ("clusters[].sorry_server", "\"127.0.0.1:9786\""),
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("JSON")
}

/// A node, with what `$ref` and `allOf` bring.
fn parts<'s>(schema: &'s Value, node: &'s Value) -> Vec<&'s Value> {
    let mut parts = vec![node];
    if let Some(pointer) = node["$ref"].as_str() {
        parts.extend(self::parts(schema, schema.pointer(&pointer[1..]).expect("what $ref names")));
    }
    for part in node["allOf"].as_array().into_iter().flatten() {
        parts.extend(self::parts(schema, part));
    }
    parts
}

/// Every key with its path and its node.
fn keys<'s>(schema: &'s Value, node: &'s Value, path: &str, found: &mut BTreeMap<String, &'s Value>) {
    let parts = parts(schema, node);
    let refused: BTreeSet<&String> = parts
        .iter()
        .filter_map(|part| part["properties"].as_object())
        .flat_map(|properties| properties.iter().filter(|(_, node)| **node == json!(false)).map(|(key, _)| key))
        .collect();
    for part in parts {
        for (key, node) in part["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if !refused.contains(key) {
                keys(schema, node, &path, found);
                found.insert(path, node);
            }
        }
        if !part["items"].is_null() {
            keys(schema, &part["items"], &format!("{path}[]"), found);
        }
    }
}

fn keys_of_schema(schema: &Value) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    keys(schema, schema, "", &mut found);
    found
}

/// What the parser asks for, and whether it takes the shape of the file.
fn read(text: &str) -> (BTreeSet<String>, bool) {
    let report = Collector::new("test.yaml", text);
    if let Some(mut root) = tree::read(text, Source::MAIN, &report) {
        defaults::fill(&mut root, &report);
        file::read(Section::new(String::new(), &root, &report));
    }
    let good = !report.failed();
    (report.asked.into_inner(), good)
}

/// `SMALL` with a value at a path of the schema.
fn with(path: &str, value: &Value) -> Value {
    let mut file: Value = serde_json::from_str(SMALL).expect("JSON");
    let mut place = &mut file;
    for step in path.split('.') {
        place = match step.strip_suffix("[]") {
            Some(list) => &mut place[list][0],
            None => &mut place[step],
        };
    }
    *place = value.clone();
    file
}

fn parsed(file: &Value) -> Parsed {
    parse(&file.to_string(), "test.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_schema_has_the_keys_of_the_parser_and_no_other() {
    let (asked, good) = read(SMALL);
    assert!(good && asked.len() > 80, "only {} keys: this test no longer sees the parser", asked.len());
    let schema = schema();
    let known: BTreeSet<String> = keys_of_schema(&schema).into_keys().collect();
    let difference = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    assert_eq!(difference(&asked, &known), [""; 0], "not in deploy/ftpdirector.schema.json");
    assert_eq!(difference(&known, &asked), [""; 0], "in deploy/ftpdirector.schema.json, and no key");
}

/// Whoever adds a key need not think of the other mappings.
#[test]
fn a_key_in_another_mapping_is_told_where_the_schema_has_it() {
    let schema = schema();
    let paths: Vec<String> = keys_of_schema(&schema).into_keys().collect();
    let of = |place: &str| -> BTreeSet<&str> {
        let below = paths.iter().filter_map(|path| path.strip_prefix(place));
        below.filter(|key| !key.contains(['.', '['])).collect()
    };
    let (top, cluster) = (of(""), of("clusters[]."));
    let [server, passive, check] =
        ["real_servers[].", "passive.", "health_check."].map(|place| of(&format!("clusters[].{place}")));
    // What a cluster has under another name is taken for a misspelling.
    let alike = BTreeSet::from(["port", "ports"]);
    for (inner, outer, place) in [
        (&server, &cluster, "`real_servers`"),
        (&passive, &cluster, "`passive:`"),
        (&check, &cluster, "`health_check:`"),
        (&cluster, &top, "`clusters:`"),
    ] {
        assert!(inner.len() > 2, "{place}: this test no longer sees the schema");
        let known: Vec<&str> = outer.iter().copied().collect();
        let other = |key: &&&str| !outer.contains(**key) && (place == "`clusters:`" || !alike.contains(**key));
        for key in inner.iter().filter(other) {
            let said = misplaced(key, &known).unwrap_or_default();
            assert!(said.contains(place), "{key}: {said:?}, not {place}");
        }
    }
}

#[test]
fn the_printed_configuration_has_all_keys() {
    let (asked, _) = read(SMALL);
    let small = parsed(&serde_json::from_str(SMALL).expect("JSON"));
    let printed = effective(&small.config, &small.by_name).expect("YAML");
    let printed: Value = serde_yaml::from_str(&printed).expect("YAML");
    fn paths(node: &Value, path: &str, found: &mut BTreeSet<String>) {
        for (key, value) in node.as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            paths(value, &path, found);
            found.insert(path);
        }
        for item in node.as_array().into_iter().flatten() {
            paths(item, &format!("{path}[]"), found);
        }
    }
    let mut found = BTreeSet::new();
    paths(&printed, "", &mut found);
    // All of them are in the clusters by then.
    let wanted = asked.into_iter().filter(|key| !key.starts_with("defaults") && key != "include").collect();
    assert_eq!(found, wanted);
}

#[test]
fn every_key_is_described_and_its_default_is_the_parsers() {
    let schema = schema();
    let small = parsed(&serde_json::from_str(SMALL).expect("JSON")).config;
    let mut without = Vec::new();
    for (path, node) in keys_of_schema(&schema) {
        assert!(node["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path} is not described");
        let Some(default) = node.get("default") else {
            without.push(path);
            continue;
        };
        if !path.starts_with("defaults.") {
            let mut expected = small.clone();
            if path == "kernel.timeouts" {
                expected.kernel.timeouts = None;
            }
            assert_eq!(parsed(&with(&path, default)).config, expected, "{path}: {default} is not the default");
        }
    }
    without.retain(|path| !path.starts_with("defaults"));
    let [required, mappings] = [
        ["forwarding", "name", "real_servers", "real_servers[].address", "vips"].as_slice(),
        ["health_check", "passive"].as_slice(),
    ];
    let of_cluster = required.iter().chain(mappings).map(|key| format!("clusters[].{key}"));
    let top = ["admin", "clusters", "include", "kernel", "limits", "log", "metrics"].map(str::to_owned);
    let expected: BTreeSet<String> = of_cluster.chain(top).collect();
    assert_eq!(without.into_iter().collect::<BTreeSet<_>>(), expected, "keys without a default");
}

/// Values that some key takes, and such that none does.
fn probes() -> Vec<Value> {
    let numbers =
        [-1, 0, 1, 2, 20, 21, 63, 64, 990, 1023, 1024, 16383, 16384, 65535, 65536, 1_000_000, 1_000_001, 1_048_576]
            .into_iter()
            .chain([4_294_967_295_i64, 4_294_967_296, 262_144, 262_145]);
    let texts = [
        "",
        " ",
        "a",
        "A",
        "a b",
        "a/b",
        "é",
        "a\nb",
        "a\u{7f}",
        "/",
        "/a",
        "/a\tb",
        "a.yaml",
        "d/*.yaml",
        "*/a.yaml",
        "d/",
        "d/..",
        "vip",
        "nat",
        "dr",
        "tun",
        "drop",
        "reject",
        "pass",
        "allow",
        "bypass",
        "hold",
        "keep",
        "address",
        "any",
        "none",
        "tcp",
        "banner",
        "login",
        "transfer",
        "explicit",
        "implicit",
        "error",
        "warn",
        "info",
        "debug",
        "trace",
        "text",
        "json",
        "21",
        "0s",
        "10s",
        "10",
        "1h30m",
        "1m 500ms",
        "0d0s",
        "25d",
        "5 s",
        "10S",
        "31000-31999",
        "31000 - 31999",
        "1-2-3",
        "/24",
        "/24 /64",
        "24",
        "192.0.2.7",
        "192.0.2.7/24",
        "2001:db8::7",
        "10.0.0.99:21",
        "[2001:db8::9]:21",
        "127.0.0.1:9786",
        "ftp.example.net",
        "0123456789abcdef0123456789abcdef0",
        "0123456789abcde",
    ];
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(1.5),
        json!([]),
        json!([21]),
        json!([0]),
        json!(["a"]),
        json!(["192.0.2.7"]),
        json!(["a.yaml"]),
        json!([null]),
        json!({}),
        json!({"a": 1}),
        json!({"dns": "a.b"}),
        json!({"interface": "eth0"}),
        json!({"dns": "a.b", "interface": "eth0"}),
        json!({"tcp": "10s"}),
    ];
    numbers.map(Value::from).chain(texts.map(Value::from)).chain(others).collect()
}

#[test]
fn the_schema_takes_what_the_parser_takes() {
    let (schema, mut wrong, mut taken) = (schema(), Vec::new(), 0);
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for path in keys_of_schema(&schema).into_keys() {
        for value in probes() {
            let file = with(&path, &value);
            let (_, good) = read(&file.to_string());
            let of_cluster = path.replacen("defaults.", "clusters[].", 1);
            let lax = LAX.contains(&(of_cluster.as_str(), value.to_string().as_str()));
            taken += usize::from(good);
            if validator.is_valid(&file) != good && !lax {
                wrong.push(format!("{path}: {value}: the parser {}", if good { "takes it" } else { "refuses it" }));
            }
        }
    }
    assert!(taken > 500, "only {taken} values taken");
    assert!(wrong.is_empty(), "{} of the schema's answers are others:\n{}", wrong.len(), wrong.join("\n"));
}

/// The files that are there, and what the schema and the parser say of their shape.
#[test]
fn the_schema_takes_the_files_that_the_parser_takes() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let (mut good_files, mut bad_files) = (0, Vec::new());
    for folder in ["examples", "tests/bad", "deploy", "deploy/keepalived", "deploy/ecmp"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for path in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("a file").path()) {
            if path.extension().is_none_or(|ending| ending != "yaml") {
                continue;
            }
            // What is not YAML, or has a key twice, is no matter of the schema.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            // serde_yaml takes it for a space.
            if text.contains(":\t") {
                continue;
            }
            let Ok(file) = serde_yaml::from_str::<serde_yaml::Value>(&text) else { continue };
            let Ok(file) = serde_json::to_value(file) else { continue };
            let ((_, good), name) = (read(&text), path.file_name().expect("a name").to_string_lossy().into_owned());
            if good {
                assert!(validator.is_valid(&file), "{name}: {:?}", validator.validate(&file).err());
                good_files += 1;
            } else if validator.is_valid(&file) {
                bad_files.push(name);
            }
        }
    }
    assert!(good_files > 30, "only {good_files} good files");
    assert_eq!(bad_files, [""; 0], "the parser refuses their shape, and the schema does not");
}

/// The other schema leads into this one.
#[test]
fn the_schema_of_included_files_takes_clusters_alone() {
    let mut included: Value =
        serde_json::from_str(include_str!("../../deploy/ftpdirector-clusters.schema.json")).expect("JSON");
    assert_eq!(included["properties"]["clusters"]["$ref"], "ftpdirector.schema.json#/properties/clusters");
    let main = schema();
    included["properties"]["clusters"] = main["properties"]["clusters"].clone();
    included["$defs"] = main["$defs"].clone();
    let validator = jsonschema::validator_for(&included).expect("a schema");
    let read = |path: &str| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
        serde_yaml::from_str::<Value>(&text).expect("YAML")
    };
    for good in ["10-downloads", "20-uploads", "30-mirror"] {
        let file = read(&format!("examples/many-clusters/clusters.d/{good}.yaml"));
        assert!(validator.is_valid(&file), "{good}: {:?}", validator.validate(&file).err());
    }
    assert!(validator.is_valid(&read("tests/bad/included/clusters.d/70-empty.yaml")));
    for bad in ["10-keys", "50-list", "60-none"] {
        assert!(!validator.is_valid(&read(&format!("tests/bad/included/clusters.d/{bad}.yaml"))), "{bad}");
    }
}

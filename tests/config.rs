//! Configuration files as users write them: every `bad/*.yaml`, and every `bad/*/config.yaml` with what it includes, gives its
//! expected message, every example loads.
//!
//! `BLESS=1 cargo test --test config` rewrites the expected messages.

#![expect(clippy::unwrap_used, reason = "a test says what it expected")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ftpdirector::facade::{config, files};

/// The folders in a folder: each a `config.yaml` and what it includes.
fn folders(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut folders: Vec<PathBuf> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.join("config.yaml").exists());
    folders.sort();
    assert!(!folders.is_empty(), "{}: no config.yaml in a folder", directory.display());
    folders
}

/// The files of a folder that end so. There are some: a test of none would pass.
fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    files.sort();
    assert!(files.len() > 5, "{}: only {} files end in .{ending}", directory.display(), files.len());
    files
}

/// What `check` would say of a file, or of one in a folder with what it includes.
fn verdict(path: &Path) -> String {
    if path.is_dir() {
        let said = match files::read(&path.join("config.yaml")) {
            Ok(parsed) => parsed.warnings.iter().map(|warning| format!("{warning}\n")).collect(),
            Err(problems) => format!("{problems}\n"),
        };
        return said.replace(&format!("{}/", path.display()), "");
    }
    let name = Path::new(path.file_name().unwrap()).to_str().unwrap();
    match config::parse_bytes(&fs::read(path).unwrap(), name) {
        Ok(parsed) => parsed.warnings.iter().map(|warning| format!("{warning}\n")).collect(),
        Err(problems) => format!("{problems}\n"),
    }
}

#[test]
fn every_bad_file_gives_its_message() {
    let files: Vec<PathBuf> = files("tests/bad", "yaml").into_iter().chain(folders("tests/bad")).collect();
    assert!(files.len() > 20, "tests/bad is not complete: {} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let expected = path.with_extension("txt");
        let found = verdict(&path);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        assert!(!found.is_empty(), "{}: nothing is wrong with it", path.display());
        if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected (BLESS=1 rewrites):\n{}", wrong.join("\n"));
}

#[test]
fn every_message_has_a_file() {
    for path in files("tests/bad", "txt") {
        let there = path.with_extension("yaml").exists() || path.with_extension("").join("config.yaml").exists();
        assert!(there, "{} has no file", path.display());
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    for path in files("examples", "yaml").into_iter().chain(folders("examples")) {
        let said = verdict(&path);
        assert!(said.is_empty(), "{}:\n{said}", path.display());
    }
}

/// What is printed is a file that says the same; of one with what it includes too.
#[test]
fn every_example_is_printed_with_all_defaults() {
    let deployed = ["deploy", "deploy/keepalived", "deploy/ecmp"].map(Path::new);
    let deployed = deployed.map(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    for path in files("examples", "yaml").into_iter().chain(folders("examples")).chain(deployed) {
        let path = if path.is_dir() { path.join("config.yaml") } else { path };
        let printed = printed(&["--effective", "--config", path.to_str().unwrap()]);
        let again = config::parse(&printed, "printed.yaml").unwrap_or_else(|problems| panic!("{printed}\n{problems}"));
        assert!(again.warnings.is_empty(), "{}: {:?}", path.display(), again.warnings);
        assert_eq!(config::effective(&again.config, &again.by_name).unwrap(), printed, "{}", path.display());
        let given = files::read(&path).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config::effective(&given.config, &given.by_name).unwrap(), printed, "{}", path.display());
        let named = |parsed: &config::Parsed| {
            let names = |cluster: &config::Cluster| (cluster.name.clone(), cluster.real_servers.len());
            parsed.by_name.whole(&parsed.config).clusters.iter().map(names).collect::<Vec<_>>()
        };
        assert_eq!(named(&again), named(&given), "{}", path.display());
    }
}

#[test]
fn a_cluster_has_what_defaults_say_unless_it_says_otherwise() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/many-clusters/config.yaml");
    let printed = printed(&["--effective", "--config", example.to_str().unwrap()]);
    let found = |key: &str| {
        let lines = printed.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
        lines.map(|value| value.trim_start_matches(": ").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("forwarding"), ["dr", "dr", "nat"]);
    assert_eq!(found("idle"), ["1h10m", "2h", "1h10m"]);
    assert_eq!(found("interval"), ["5s", "10s", "5s"]);
    assert_eq!(found("user"), ["probe", "probe", "anonymous"]);
    assert_eq!(
        found("password_file"),
        ["/etc/ftpdirector/passwords/probe", "/etc/ftpdirector/passwords/probe", "null"]
    );
    assert!(found("defaults").is_empty() && found("include").is_empty(), "{printed}");
}

/// What `config` prints.
fn printed(arguments: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ftpdirector"));
    let output = program.arg("config").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_schema_is_printed_without_a_file() {
    let shipped =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/ftpdirector.schema.json")).unwrap();
    assert_eq!(printed(&["--schema", "--config", "/nonexistent.yaml"]), shipped);
}

#[test]
fn config_asks_what_it_is_to_print() {
    let wrong: [&[&str]; 2] = [&[], &["--effective", "--schema"]];
    for arguments in wrong {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ftpdirector"));
        let output = program.arg("config").args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--effective") && said.contains("--schema"), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_panic() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nat.yaml");
    for command in [["check"].as_slice(), &["doctor"], &["config", "--effective"], &["config", "--schema"]] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ftpdirector"));
        program.args(command).arg("--config").arg(&example).stdout(fs::File::create("/dev/full").unwrap());
        let output = program.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("No space left on device") && !said.contains("panicked"), "{command:?}: {said}");
        assert_eq!(output.status.code(), Some(70), "{command:?}");
    }
}

#[test]
fn a_file_that_is_not_there_has_a_cure() {
    for (file, cure) in [("/nonexistent.yaml", "correct its name"), ("-", "standard input is /dev/stdin here")] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ftpdirector"));
        let output = program.args(["check", file]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("{file}: No such file or directory (os error 2): {cure}\n"));
        assert_eq!(output.status.code(), Some(78));
    }
}

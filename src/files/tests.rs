use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A directory that is gone with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("ftpdirector-files-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(place.join("clusters.d")).expect("a directory");
        Self(place)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.0.join(name), text).expect("a file");
        self
    }

    fn read(&self) -> Result<Parsed, String> {
        read(&self.0.join("config.yaml"))
            .map_err(|error| error.to_string().replace(&format!("{}/", self.0.display()), ""))
    }

    /// The names of the clusters, in their order.
    fn names(&self) -> Vec<String> {
        let parsed = self.read().unwrap_or_else(|said| panic!("{said}"));
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        parsed.config.clusters.into_iter().map(|cluster| cluster.name).collect()
    }

    /// The first line of what is said.
    fn refusal(&self) -> String {
        self.read().expect_err("a problem").lines().next().unwrap_or_default().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file with one cluster, at an address of its own.
fn cluster(name: &str, number: u8) -> String {
    format!(
        "clusters: [{{name: {name}, vips: [192.0.2.{number}], forwarding: nat, real_servers: [{{address: 10.0.0.{number}, passive_ports: 31000-31999}}]}}]\n"
    )
}

#[test]
fn clusters_come_in_the_order_of_the_list_and_then_of_the_names() {
    let place = Place::new("order");
    place.write("config.yaml", &format!("include: [last.yaml, clusters.d/*.yaml]\n{}", cluster("main", 1)));
    place.write("last.yaml", &cluster("listed", 2));
    for (name, number) in [("20-b", 3), ("10-a", 4), ("9-c", 5)] {
        place.write(&format!("clusters.d/{name}.yaml"), &cluster(name, number));
    }
    assert_eq!(place.names(), ["main", "listed", "10-a", "20-b", "9-c"]);
}

#[test]
fn what_is_hidden_or_has_another_ending_is_not_included() {
    let place = Place::new("hidden");
    place.write("config.yaml", "include: [clusters.d/*.yaml]\n").write("clusters.d/a.yaml", &cluster("a", 1));
    for name in [".b.yaml", "a.yaml~", "a.yaml.dpkg-dist", "a.yml"] {
        place.write(&format!("clusters.d/{name}"), "no: clusters\n");
    }
    assert_eq!(place.names(), ["a"]);
    place.write("config.yaml", "include: [clusters.d/.*.yaml, clusters.d/*.yaml]\n");
    assert!(place.refusal().starts_with("clusters.d/.b.yaml:1:1: no: unknown key"), "{}", place.refusal());
}

#[test]
fn no_file_is_read_twice() {
    let place = Place::new("twice");
    place.write(
        "config.yaml",
        &format!("include: [clusters.d/a.yaml, clusters.d/*.yaml, '*.yaml']\n{}", cluster("main", 1)),
    );
    place.write("clusters.d/a.yaml", &cluster("a", 2)).write("clusters.d/b.yaml", &cluster("b", 3));
    symlink("b.yaml", place.0.join("clusters.d/c.yaml")).expect("a link");
    assert_eq!(place.names(), ["main", "a", "b"]);
}

#[test]
fn a_reload_reads_all_files_again() {
    let place = Place::new("reload");
    place.write("config.yaml", "include: [clusters.d/*.yaml]\n").write("clusters.d/a.yaml", &cluster("a", 1));
    assert_eq!(place.names(), ["a"]);
    place.write("clusters.d/a.yaml", &cluster("changed", 1)).write("clusters.d/b.yaml", &cluster("b", 2));
    assert_eq!(place.names(), ["changed", "b"]);
    fs::remove_file(place.0.join("clusters.d/a.yaml")).expect("removed");
    assert_eq!(place.names(), ["b"]);
}

#[test]
fn a_pattern_may_match_nothing() {
    let place = Place::new("nothing");
    let main = |include: &str| format!("include: [{include}]\n{}", cluster("main", 1));
    place.write("config.yaml", &main("clusters.d/*.yaml"));
    assert_eq!(place.names(), ["main"]);
    // A directory that is not there is a slip.
    place.write("config.yaml", &main("cluster.d/*.yaml"));
    let warnings = place.read().expect("a configuration").warnings;
    assert!(warnings.len() == 1 && warnings[0].path == "include[0]", "{warnings:?}");
    for include in ["clusters.d/*.yaml", "cluster.d/*.yaml"] {
        place.write("config.yaml", &format!("include: [{include}]\n"));
        assert!(place.read().expect_err("no cluster").contains("there is no cluster"), "{include}");
    }
}

#[test]
fn what_cannot_be_read_is_told_where_it_is_included() {
    let place = Place::new("unread");
    place.write("config.yaml", "include:\n  - clusters.d/a.yaml\n");
    assert_eq!(
        place.refusal(),
        "config.yaml:2:5: include[0]: clusters.d/a.yaml: No such file or directory (os error 2)"
    );
    let file = place.0.join("clusters.d/a.yaml");
    fs::create_dir(&file).expect("a directory");
    assert_eq!(place.refusal(), "config.yaml:2:5: include[0]: clusters.d/a.yaml: is a directory");
    fs::remove_dir(&file).expect("removed");
    // Nobody writes into it: to open it would wait for ever.
    assert!(Command::new("mkfifo").arg(&file).status().expect("mkfifo").success());
    assert_eq!(place.refusal(), "config.yaml:2:5: include[0]: clusters.d/a.yaml: not a regular file");
    fs::remove_file(&file).expect("removed");
    symlink("/dev/zero", &file).expect("a link");
    assert_eq!(place.refusal(), "config.yaml:2:5: include[0]: clusters.d/a.yaml: not a regular file");
    fs::remove_file(&file).expect("removed");
    symlink("a.yaml", &file).expect("a link");
    assert!(place.refusal().contains("Too many levels of symbolic links"), "{}", place.refusal());
}

#[test]
fn one_configuration_has_so_many_files_and_no_more() {
    let place = Place::new("many");
    place.write("config.yaml", "include: [clusters.d/*.yaml]\n");
    for number in 0..FILES - 1 {
        place.write(&format!("clusters.d/{number:04}.yaml"), "# no cluster\n");
    }
    place.write("clusters.d/a.yaml", &cluster("a", 1));
    assert_eq!(place.names(), ["a"]);
    place.write("clusters.d/b.yaml", &cluster("b", 2)).write("clusters.d/c.yaml", &cluster("c", 3));
    let said = place.read().expect_err("too many");
    assert_eq!(said.matches("more than 1024 files").count(), 1, "{said}");
}

#[test]
fn one_configuration_is_so_large_and_no_larger() {
    let place = Place::new("large");
    place.write("config.yaml", "include: [clusters.d/*.yaml]\n");
    let filled = |bytes: usize| format!("{}#{}\n", cluster("a", 1), "x".repeat(bytes));
    place.write("clusters.d/a.yaml", &filled(LARGEST));
    assert!(place.refusal().starts_with("clusters.d/a.yaml:1:1: the file is too large"), "{}", place.refusal());
    place.write("clusters.d/a.yaml", &filled(LARGEST - 1000));
    for name in ["b", "c"] {
        place.write(&format!("clusters.d/{name}.yaml"), &format!("#{}\n", "x".repeat(LARGEST - 1000)));
    }
    let said = place.read().expect_err("too large");
    assert!(
        said.contains("clusters.d/c.yaml: with this file the configuration is larger than 16777216 bytes"),
        "{said}"
    );
    place.write("clusters.d/c.yaml", "# small\n");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn an_endless_main_file_ends() {
    let said = read(Path::new("/dev/zero")).expect_err("no configuration").to_string();
    assert!(said.starts_with("/dev/zero:1:1: the file is too large"), "{said}");
}

/// Whoever may put a file there chooses its name.
#[test]
fn a_name_of_a_file_writes_nothing_to_the_terminal() {
    let place = Place::new("name");
    place
        .write("config.yaml", "include: [clusters.d/*.yaml]\n")
        .write("clusters.d/a\u{1b}[2J\nall is well.yaml", "x: 1\n");
    let said = place.read().expect_err("a problem");
    assert!(said.contains("clusters.d/a\u{fffd}[2J\u{fffd}all is well.yaml:1:1"), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains("\nall"), "{said}");
}

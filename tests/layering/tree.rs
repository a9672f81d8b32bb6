//! Which file uses which: paths resolved to the file that defines what they name.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{self, Import};

struct Module {
    code: String,
    /// The code without its `use` items.
    body: String,
    children: BTreeSet<String>,
    imports: Vec<Import>,
}

/// All files of a crate; those compiled for tests only are left out.
pub struct Tree {
    modules: BTreeMap<String, Module>,
    edges: BTreeSet<(String, String)>,
}

/// What a path leads to.
enum Found {
    /// A module, not something in it.
    Module(String),
    /// Something that the file of this module defines.
    Item(String),
}

impl Tree {
    /// `files`: module path (empty for the crate's root) and text.
    pub fn new(files: Vec<(String, String)>) -> Self {
        let mut only_tests = BTreeSet::new();
        for (module, text) in &files {
            only_tests.extend(source::test_modules(text).iter().map(|child| join(module, child)));
        }
        let left_out = |module: &str| ancestors(module).any(|part| only_tests.contains(part));
        let kept = files.into_iter().filter(|(module, _)| !left_out(module));
        let modules = kept.map(|(module, text)| (module, Module::new(&text))).collect();
        let mut tree = Self { modules, edges: BTreeSet::new() };
        tree.edges = tree.modules.keys().flat_map(|from| tree.uses(from)).collect();
        tree
    }

    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    pub fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.edges.iter().map(|(from, to)| (from.as_str(), to.as_str()))
    }

    pub fn code(&self, module: &str) -> &str {
        &self.modules[module].code
    }

    /// What the file of this module uses. An import counts when its name stands in the code: a parent that only
    /// passes a child's names on does not use the child. An imported module counts by the paths through it.
    fn uses(&self, from: &str) -> Vec<(String, String)> {
        let module = &self.modules[from];
        let wanted = |import: &&Import| matches!(&*import.name, "*" | "_") || source::names(&module.body, &import.name);
        let imported = module.imports.iter().filter(wanted).map(|import| import.path.clone());
        let paths = imported.chain(source::paths(&module.body));
        let found = paths.filter_map(|path| match self.resolve(from, &path, 0)? {
            Found::Item(to) => Some(to),
            Found::Module(_) => None,
        });
        found.filter(|to| to != from).map(|to| (from.to_owned(), to)).collect()
    }

    /// Follows a path from inside a module, through modules and what they re-export.
    fn resolve(&self, from: &str, path: &[String], depth: usize) -> Option<Found> {
        let (first, rest) = path.split_first()?;
        // Two re-exports that name each other do not compile; globs may.
        if depth > 20 {
            return None;
        }
        match first.as_str() {
            "crate" => self.walk("", rest, depth),
            "self" => self.walk(from, rest, depth),
            "super" => self.resolve(parent(from), &replaced(rest), depth),
            _ => self.child(from, first, rest, depth),
        }
    }

    /// From a module that is reached, on.
    fn walk(&self, module: &str, rest: &[String], depth: usize) -> Option<Found> {
        self.modules.get(module)?;
        match rest.split_first() {
            None => Some(Found::Module(module.to_owned())),
            Some((star, _)) if star == "*" => Some(Found::Item(module.to_owned())),
            Some((name, rest)) => {
                let deeper = self.child(module, name, rest, depth);
                Some(deeper.unwrap_or_else(|| Found::Item(module.to_owned())))
            }
        }
    }

    /// A name that the module declares as a child or imports.
    fn child(&self, module: &str, name: &str, rest: &[String], depth: usize) -> Option<Found> {
        let file = self.modules.get(module)?;
        if file.children.contains(name) {
            return self.walk(&join(module, name), rest, depth);
        }
        let import = file.imports.iter().find(|import| import.name == name)?;
        if import.path.first().is_some_and(|first| first == name) {
            // Another crate.
            return None;
        }
        let path = [&import.path, rest].concat();
        match self.resolve(module, &path, depth + 1)? {
            Found::Module(to) => Some(Found::Module(to)),
            found => Some(found),
        }
    }

    /// Sets of files each of which needs every other, at once or through others.
    pub fn cycles(&self) -> Vec<Vec<&str>> {
        let reach: BTreeMap<&str, BTreeSet<&str>> = self.modules().map(|from| (from, self.reached(from))).collect();
        let mut cycles: Vec<Vec<&str>> = Vec::new();
        for from in self.modules() {
            if reach[from].contains(from) && !cycles.iter().flatten().any(|known| *known == from) {
                cycles.push(reach[from].iter().copied().filter(|to| reach[to].contains(from)).collect());
            }
        }
        cycles
    }

    fn reached(&self, from: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut left = vec![from];
        while let Some(at) = left.pop() {
            for (_, to) in self.edges().filter(|(start, _)| *start == at) {
                if seen.insert(to) {
                    left.push(to);
                }
            }
        }
        seen
    }

    /// The uses inside a cycle, one a line.
    pub fn describe(&self, cycle: &[&str]) -> String {
        let inside = self.edges().filter(|(from, to)| cycle.contains(from) && cycle.contains(to));
        let uses: Vec<String> = inside.map(|(from, to)| format!("    {from} uses {to}")).collect();
        format!("  {}\n{}", cycle.join(", "), uses.join("\n"))
    }
}

impl Module {
    fn new(text: &str) -> Self {
        let code = source::code(text);
        let (imports, body) = source::imports(&code);
        let children = source::children(&code).into_iter().collect();
        Self { code, body, children, imports }
    }
}

/// `super::super::x` is taken one step at a time; `super::x` goes on in the parent as `self::x`.
fn replaced(rest: &[String]) -> Vec<String> {
    if rest.first().is_some_and(|next| next == "super") {
        return rest.to_vec();
    }
    let mut path = vec!["self".to_owned()];
    path.extend_from_slice(rest);
    path
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

/// The module and everything it stands in, without the crate's root.
fn ancestors(module: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(module), |part| Some(parent(part))).take_while(|part| !part.is_empty())
}

mod tests {
    use super::Tree;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut all = vec![(String::new(), "mod a;\nmod b;\n".to_owned())];
        all.extend(files.iter().map(|(module, text)| ((*module).to_owned(), (*text).to_owned())));
        Tree::new(all)
    }

    #[test]
    fn two_files_that_use_each_other_are_a_cycle() {
        let tree = tree(&[
            ("a", "use crate::b::{self, Thing as Other};\nfn f(x: Other) { b::g() }"),
            ("b", "pub struct Thing;\npub fn g() { crate::a::f() }"),
        ]);
        assert_eq!(tree.cycles(), [["a", "b"]]);
    }

    #[test]
    fn a_cycle_is_found_through_others_and_through_re_exports() {
        let tree = tree(&[
            ("a", "mod x;\nmod y;\nmod z;\npub use x::X;\npub use z::*;"),
            ("a::x", "use super::y::Y;\npub struct X(Y);"),
            ("a::y", "pub struct Y(super::z::Z);"),
            ("a::z", "use crate::a::X;\npub struct Z(X);"),
            ("b", "pub struct B(crate::a::X);"),
        ]);
        assert_eq!(tree.cycles(), [["a::x", "a::y", "a::z"]]);
    }

    #[test]
    fn a_parent_that_only_passes_on_is_in_none() {
        let files = [("a::x", "use super::Own;\npub struct X(Own);")];
        let passes = [("a", "mod x;\npub use x::X;\npub struct Own;"), files[0], ("b", "")];
        assert!(tree(&passes).cycles().is_empty());
        let uses = [("a", "mod x;\npub use x::X;\npub struct Own;\nfn f(x: X) {}"), files[0], ("b", "")];
        assert_eq!(tree(&uses).cycles(), [["a", "a::x"]]);
        let by_path = [("a", "mod x;\npub struct Own;\nfn f(x: x::X) {}"), files[0], ("b", "")];
        assert_eq!(tree(&by_path).cycles(), [["a", "a::x"]]);
    }

    #[test]
    fn words_tests_and_other_crates_are_no_uses() {
        let tree = tree(&[
            ("a", "use std::fmt;\npub struct A;\n// crate::b::B\nfn f() { \"crate::b::B\"; '\"'; fmt::f() }"),
            ("b", "pub struct B(crate::a::A);\n#[cfg(test)]\nmod tests;\n"),
            ("b::tests", "use crate::a::A;"),
        ]);
        assert_eq!(tree.edges().collect::<Vec<_>>(), [("b", "a")]);
        let inline = "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n    fn f() { B }\n}\n";
        let tree = self::tree(&[("a", inline), ("b", "use crate::a::A;\nfn f(a: A) {}")]);
        assert!(tree.cycles().is_empty());
    }
}

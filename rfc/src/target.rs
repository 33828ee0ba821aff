//! Which test of which cargo target: how a test in a file is found again in what `cargo test` prints.

use crate::workspace::Package;
use std::fmt;

/// A test as cargo knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TestPath {
    /// The root file of the target, relative to its package, as cargo prints it: `src/lib.rs`, `tests/dictionary.rs`.
    pub root: String,
    /// The crate that the target is compiled as: `candor_protocol`, `dictionary`.
    pub krate: String,
    /// Modules and function: `codec::frame::tests::a_size_over_the_limit_is_refused`.
    pub test: String,
}

impl fmt::Display for TestPath {
    /// As `module_path!()` and the function's name give it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.krate, self.test)
    }
}

/// The target that a source file belongs to, and the modules that lead to the file inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTarget {
    pub root: String,
    pub krate: String,
    pub modules: Vec<String>,
}

impl FileTarget {
    pub fn test(&self, modules: &[String], function: &str) -> TestPath {
        let path: Vec<&str> = self.modules.iter().chain(modules).map(String::as_str).chain([function]).collect();
        TestPath { root: self.root.clone(), krate: self.krate.clone(), test: path.join("::") }
    }
}

/// The target of `file`, a path relative to the package. `None`: it is part of none that cargo would find.
///
/// A file under `src/` that is not the root of a target is taken for a module of the library, or of the main binary
/// where there is no library.
pub fn of_file(package: &Package, file: &str) -> Option<FileTarget> {
    let crate_name = |name: &str| name.replace('-', "_");
    let root = |krate: &str| FileTarget { root: file.to_owned(), krate: crate_name(krate), modules: Vec::new() };
    if let Some(target) = package.targets.iter().find(|target| target.path == file) {
        return Some(root(&target.name));
    }
    let parts: Vec<&str> = file.strip_suffix(".rs")?.split('/').collect();
    match parts.as_slice() {
        ["src", "lib" | "main"] => Some(root(&package.name)),
        ["src", "bin", name] | ["src", "bin", name, "main"] | ["tests", name] | ["tests", name, "main"] => Some(root(name)),
        ["src", modules @ ..] => {
            let root = if package.has_library { "src/lib.rs" } else { "src/main.rs" };
            Some(FileTarget { root: root.to_owned(), krate: crate_name(&package.name), modules: module_path(modules) })
        }
        ["tests", name, modules @ ..] => {
            let root = format!("tests/{name}/main.rs");
            let main = package.test_mains.contains(&root);
            main.then(|| FileTarget { root, krate: crate_name(name), modules: module_path(modules) })
        }
        _ => None,
    }
}

fn module_path(parts: &[&str]) -> Vec<String> {
    let parts = parts.strip_suffix(&["mod"]).unwrap_or(parts);
    parts.iter().map(|part| (*part).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Target;

    fn package() -> Package {
        Package {
            dir: "client".into(),
            name: "candor-client".into(),
            has_library: true,
            targets: vec![Target { name: "candor".into(), path: "src/bin/candor.rs".into() }],
            test_mains: vec!["tests/reconnect/main.rs".into()],
        }
    }

    fn found(file: &str) -> Option<(String, String)> {
        of_file(&package(), file).map(|target| (target.root.clone(), target.test(&["tests".into()], "it_works").to_string()))
    }

    #[test]
    fn a_file_leads_to_the_path_that_cargo_prints() {
        let expect = |file, root: &str, path: &str| assert_eq!(found(file), Some((root.into(), path.into())), "{file}");
        expect("src/lib.rs", "src/lib.rs", "candor_client::tests::it_works");
        expect("src/driver.rs", "src/lib.rs", "candor_client::driver::tests::it_works");
        expect("src/bench/mod.rs", "src/lib.rs", "candor_client::bench::tests::it_works");
        expect("src/bench/plan.rs", "src/lib.rs", "candor_client::bench::plan::tests::it_works");
        expect("src/bin/candor.rs", "src/bin/candor.rs", "candor::tests::it_works");
        expect("tests/give-up.rs", "tests/give-up.rs", "give_up::tests::it_works");
        expect("tests/reconnect/main.rs", "tests/reconnect/main.rs", "reconnect::tests::it_works");
        expect("tests/reconnect/backoff.rs", "tests/reconnect/main.rs", "reconnect::backoff::tests::it_works");
    }

    #[test]
    fn a_file_of_no_target_has_no_path() {
        assert_eq!(found("tests/common/mod.rs"), None);
        assert_eq!(found("notes.txt"), None);
    }
}

//! The repository: its root, its packages, its source files.

use crate::finding::{Finding, Place};
use std::fs;
use std::path::{Path, PathBuf};

/// A package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Relative to the root.
    pub dir: String,
    pub name: String,
    pub has_library: bool,
    /// The targets that the manifest names with a path.
    pub targets: Vec<Target>,
    /// The integration tests that are folders: `tests/NAME/main.rs`.
    pub test_mains: Vec<String>,
}

/// A target that the manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub path: String,
}

/// A source file of a package.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Relative to the root, with `/`.
    pub name: String,
    /// Relative to the package.
    pub in_package: String,
    pub text: String,
}

/// The folder at or above `from` that holds the workspace and the draft.
pub fn root_above(from: &Path) -> Option<PathBuf> {
    from.ancestors().find(|dir| dir.join("Cargo.toml").is_file() && dir.join("rfc/draft").is_dir()).map(Path::to_path_buf)
}

/// The packages of the workspace at `root`, in the order of its manifest.
///
/// # Errors
/// A manifest that cannot be read or lacks what is needed of it.
pub fn packages(root: &Path) -> Result<Vec<Package>, Finding> {
    let manifest = manifest(root, "Cargo.toml")?;
    let members = manifest.get("workspace").and_then(|workspace| workspace.get("members")).and_then(toml::Value::as_array);
    let members = members.ok_or_else(|| whole("Cargo.toml", "it has no list `workspace.members`"))?;
    members.iter().filter_map(toml::Value::as_str).map(|dir| package(root, dir)).collect()
}

fn package(root: &Path, dir: &str) -> Result<Package, Finding> {
    let file = format!("{dir}/Cargo.toml");
    let manifest = manifest(root, &file)?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let name = name.ok_or_else(|| whole(&file, "it has no `package.name`"))?.to_owned();
    let text = |table: &toml::Value, key| table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let named = |kind| manifest.get(kind).and_then(toml::Value::as_array).into_iter().flatten();
    let targets = ["bin", "test"].into_iter().flat_map(named);
    let targets = targets.filter_map(|table| Some(Target { name: text(table, "name")?, path: text(table, "path")? })).collect();
    let tests = root.join(dir).join("tests");
    let mains = listed(&tests).unwrap_or_default().into_iter().filter(|path| path.join("main.rs").is_file());
    let test_mains = mains.map(|path| format!("tests/{}/main.rs", file_name(&path))).collect();
    Ok(Package { dir: dir.to_owned(), name, has_library: root.join(dir).join("src/lib.rs").is_file(), targets, test_mains })
}

fn manifest(root: &Path, file: &str) -> Result<toml::Table, Finding> {
    read(root, file)?.parse().map_err(|error| whole(file, format!("it is not TOML: {error}")))
}

fn whole(file: &str, what: impl Into<String>) -> Finding {
    Finding::new(Place::new(file, 0), what)
}

/// The text of a file of the repository.
///
/// # Errors
/// It cannot be read.
pub fn read(root: &Path, file: &str) -> Result<String, Finding> {
    fs::read_to_string(root.join(file)).map_err(|error| whole(file, format!("it cannot be read: {error}")))
}

/// The names of the files in a folder of the repository that end in `extension`, in order.
///
/// # Errors
/// The folder cannot be read.
pub fn files_in(root: &Path, dir: &str, extension: &str) -> Result<Vec<String>, Finding> {
    let paths = listed(&root.join(dir)).map_err(|error| whole(dir, format!("it cannot be read: {error}")))?;
    let wanted = paths.iter().filter(|path| path.is_file() && path.extension().is_some_and(|found| found == extension));
    Ok(wanted.map(|path| file_name(path)).collect())
}

/// Every Rust file under `src` and `tests` of a package.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn sources(root: &Path, package: &Package) -> Result<Vec<SourceFile>, Finding> {
    let mut files = Vec::new();
    for top in ["src", "tests"] {
        if root.join(&package.dir).join(top).is_dir() {
            sources_in(root, &package.dir, top, &mut files)?;
        }
    }
    Ok(files)
}

fn sources_in(root: &Path, dir: &str, folder: &str, files: &mut Vec<SourceFile>) -> Result<(), Finding> {
    let name = format!("{dir}/{folder}");
    let paths = listed(&root.join(&name)).map_err(|error| whole(&name, format!("it cannot be read: {error}")))?;
    for path in paths {
        let in_package = format!("{folder}/{}", file_name(&path));
        if path.is_dir() {
            sources_in(root, dir, &in_package, files)?;
        } else if in_package.ends_with(".rs") {
            let name = format!("{dir}/{in_package}");
            let text = read(root, &name)?;
            files.push(SourceFile { name, in_package, text });
        }
    }
    Ok(())
}

/// What a folder holds, in order, so that no output depends on the file system.
fn listed(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

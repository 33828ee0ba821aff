//! From Markdown to the draft's text and HTML, with kramdown-rfc and xml2rfc, offline.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most columns of a draft's text.
const COLUMNS: usize = 72;

/// The two programs, and the references that they read.
#[derive(Debug, Clone)]
pub struct Tools {
    pub kramdown_rfc: OsString,
    pub xml2rfc: OsString,
    /// The folder of `reference.*.xml`.
    pub references: PathBuf,
}

/// The files that were built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    pub xml: PathBuf,
    pub text: PathBuf,
    pub html: PathBuf,
    /// What the tools said besides.
    pub warnings: Vec<String>,
}

/// Why the draft was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// A program is not there.
    Missing { tool: String },
    /// A program failed; what it said.
    Failed { tool: String, said: String },
    /// A file cannot be read or written.
    File { path: PathBuf, error: std::io::Error },
    /// A reference was not found: the tools put BROKEN in its place and go on.
    Broken { file: String, line: usize, text: String },
    /// A line of the text is wider than a draft's may be.
    TooWide { line: usize, columns: usize, text: String },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { tool } => {
                write!(f, "`{tool}` is not there: rfc/tools.sh installs kramdown-rfc and xml2rfc; --markdown-only does without them")
            }
            Self::Failed { tool, said } => write!(f, "`{tool}` failed:\n{}", said.trim_end()),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Broken { file, line, text } => write!(
                f,
                "{file}:{line}: a reference was not found; each document that is cited needs its rfc/refs/reference.NAME.xml or an entry in the front matter: {text}"
            ),
            Self::TooWide { line, columns, text } => {
                write!(f, "line {line} of the text has {columns} columns, more than {COLUMNS}: {text}")
            }
        }
    }
}

impl std::error::Error for BuildError {}

impl Tools {
    /// The programs where `rfc/tools.sh` puts them, else those on the path.
    pub fn of_root(root: &Path) -> Self {
        let installed = root.join("target/draft-tools/bin/xml2rfc");
        let xml2rfc = if installed.is_file() { installed.into_os_string() } else { "xml2rfc".into() };
        Self { kramdown_rfc: "kramdown-rfc".into(), xml2rfc, references: root.join(crate::draft::REFERENCES) }
    }

    /// Writes `NAME.md`, and from it `NAME.xml`, `NAME.txt` and `NAME.html`, into `folder`. The same Markdown gives the
    /// same bytes.
    ///
    /// # Errors
    /// A program is missing or fails, a reference is not found, or a line is too wide; text and HTML are then not left behind.
    pub fn build(&self, markdown: &str, folder: &Path, name: &str) -> Result<Built, BuildError> {
        let source = write_markdown(markdown, folder, name)?;
        let file = |extension| folder.join(format!("{name}.{extension}"));
        let built = Built { xml: file("xml"), text: file("txt"), html: file("html"), warnings: Vec::new() };
        for stale in [&built.xml, &built.text, &built.html] {
            remove(stale)?;
        }
        let references = absolute(&self.references)?;
        let mut kramdown = Command::new(&self.kramdown_rfc);
        kramdown.arg(absolute(&source)?).env("KRAMDOWN_OFFLINE", "1").env("KRAMDOWN_REFCACHEDIR", references).current_dir(folder);
        let (xml, mut warnings) = run(&self.kramdown_rfc, kramdown)?;
        refuse_broken(&format!("{name}.xml"), &xml)?;
        fs::write(&built.xml, xml).map_err(|error| BuildError::File { path: built.xml.clone(), error })?;
        let mut xml2rfc = Command::new(&self.xml2rfc);
        xml2rfc.args(["--no-network", "--v3", "--quiet", "--text", "--html"]).arg(format!("{name}.xml")).current_dir(folder);
        warnings.extend(run(&self.xml2rfc, xml2rfc)?.1);
        match refuse_bad_outputs(&built, name) {
            Ok(()) => Ok(Built { warnings, ..built }),
            Err(error) => {
                remove(&built.text)?;
                remove(&built.html)?;
                Err(error)
            }
        }
    }
}

/// Writes `NAME.md` into `folder`, which is made.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn write_markdown(markdown: &str, folder: &Path, name: &str) -> Result<PathBuf, BuildError> {
    let path = folder.join(format!("{name}.md"));
    let write = fs::create_dir_all(folder).and_then(|()| fs::write(&path, markdown));
    write.map_err(|error| BuildError::File { path: path.clone(), error })?;
    Ok(path)
}

fn absolute(path: &Path) -> Result<PathBuf, BuildError> {
    std::path::absolute(path).map_err(|error| BuildError::File { path: path.to_path_buf(), error })
}

fn remove(path: &Path) -> Result<(), BuildError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BuildError::File { path: path.to_path_buf(), error }),
        _ => Ok(()),
    }
}

/// Runs a program to its end: what it wrote, and the lines it said besides.
fn run(tool: &OsStr, mut command: Command) -> Result<(String, Vec<String>), BuildError> {
    let tool = Path::new(tool).file_name().unwrap_or(tool).to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(BuildError::Missing { tool }),
        Err(error) => return Err(BuildError::File { path: tool.into(), error }),
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(BuildError::Failed { tool, said });
    }
    let warnings = said.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("{tool}: {line}")).collect();
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), warnings))
}

fn refuse_bad_outputs(built: &Built, name: &str) -> Result<(), BuildError> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| BuildError::File { path: path.to_path_buf(), error });
    let (text, html) = (read(&built.text)?, read(&built.html)?);
    refuse_broken(&format!("{name}.txt"), &text)?;
    refuse_broken(&format!("{name}.html"), &html)?;
    let columns = |line: &str| line.chars().count();
    match text.lines().enumerate().find(|(_, line)| columns(line) > COLUMNS) {
        Some((at, line)) => Err(BuildError::TooWide { line: at + 1, columns: columns(line), text: line.trim().to_owned() }),
        None => Ok(()),
    }
}

/// Both tools end with success when a reference is not found, and say so in the output alone.
fn refuse_broken(file: &str, output: &str) -> Result<(), BuildError> {
    match output.lines().enumerate().find(|(_, line)| line.contains("BROKEN")) {
        Some((at, line)) => Err(BuildError::Broken { file: file.to_owned(), line: at + 1, text: line.trim().to_owned() }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// One test at a time: a program cannot be run while another test's child, which has not begun its own program yet, has it open
    /// for writing.
    static ALONE: Mutex<()> = Mutex::new(());

    /// A folder that is removed when the test ends.
    struct Folder(PathBuf, #[expect(dead_code, reason = "held until the test ends")] MutexGuard<'static, ()>);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("candor-rfc-tools-{test}-{}", std::process::id()));
            let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            fs::create_dir_all(&path).unwrap();
            Self(path, alone)
        }

        /// A program that does what the shell does with `script`.
        fn program(&self, name: &str, script: &str) -> OsString {
            let path = self.0.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.into_os_string()
        }

        fn tools(&self, kramdown: &str, xml2rfc: &str) -> Tools {
            Tools {
                kramdown_rfc: self.program("kramdown-rfc", kramdown),
                xml2rfc: self.program("xml2rfc", xml2rfc),
                references: self.0.join("refs"),
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const XML: &str = "echo \"<rfc offline=$KRAMDOWN_OFFLINE/>\"; echo 'odd line' >&2";
    const OUTPUTS: &str = "cp d.xml d.txt; cp d.xml d.html";

    #[test]
    fn the_tools_run_one_behind_the_other_and_offline() {
        let folder = Folder::new("run");
        let out = folder.0.join("out");
        let built = folder.tools(XML, OUTPUTS).build("# Title\n", &out, "d").unwrap();
        assert_eq!(fs::read_to_string(&built.text).unwrap(), "<rfc offline=1/>\n");
        assert_eq!(fs::read_to_string(out.join("d.md")).unwrap(), "# Title\n");
        assert_eq!(built.warnings, ["kramdown-rfc: odd line"]);
    }

    #[test]
    fn a_missing_tool_is_named_with_the_way_to_install_it() {
        let folder = Folder::new("missing");
        let tools = Tools { xml2rfc: folder.0.join("no/xml2rfc").into(), ..folder.tools(XML, "") };
        let error = tools.build("", &folder.0, "d").unwrap_err().to_string();
        assert_eq!(error, "`xml2rfc` is not there: rfc/tools.sh installs kramdown-rfc and xml2rfc; --markdown-only does without them");
    }

    #[test]
    fn a_tool_that_fails_is_quoted() {
        let folder = Folder::new("failed");
        let error = folder.tools("echo 'line 3: no' >&2; exit 1", "").build("", &folder.0, "d").unwrap_err().to_string();
        assert_eq!(error, "`kramdown-rfc` failed:\nline 3: no");
    }

    #[test]
    fn an_output_with_a_broken_reference_is_not_left_behind() {
        let folder = Folder::new("broken");
        let tools = folder.tools(XML, "cp d.xml d.txt; echo '<p>BROKEN REFERENCE</p>' > d.html");
        let error = tools.build("", &folder.0, "d").unwrap_err().to_string();
        assert!(error.starts_with("d.html:1: a reference was not found;") && error.ends_with("<p>BROKEN REFERENCE</p>"), "{error}");
        assert!(!folder.0.join("d.txt").exists() && !folder.0.join("d.html").exists());
        let in_xml = folder.tools("echo BROKEN", OUTPUTS).build("", &folder.0, "d").unwrap_err();
        assert!(matches!(in_xml, BuildError::Broken { line: 1, .. }), "{in_xml}");
    }

    #[test]
    fn a_text_that_is_too_wide_is_refused() {
        let folder = Folder::new("wide");
        let tools = folder.tools(XML, "cp d.xml d.html; printf '\\n   %070d\\n' 0 > d.txt");
        let error = tools.build("", &folder.0, "d").unwrap_err().to_string();
        assert!(error.starts_with("line 2 of the text has 73 columns, more than 72: 000"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let folder = Folder::new("file");
        fs::write(folder.0.join("taken"), "").unwrap();
        let error = folder.tools(XML, "").build("", &folder.0.join("taken"), "d").unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
    }
}

//! Where the report goes: standard output, and a page.

use crate::bench::Report;
use crate::command::exit::{Exit, Failure};
use crate::command::report;
use clap::ArgMatches;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Output {
    is_json: bool,
    page: Option<Page>,
}

#[derive(Debug)]
struct Page {
    path: PathBuf,
    file: File,
    /// It was not there before.
    is_new: bool,
}

impl Output {
    /// Opens what is written later, so that a path that cannot be written costs no measurement. What a file holds stays until then.
    pub(super) fn open(matches: &ArgMatches) -> Result<Self, Failure> {
        let page = matches
            .get_one::<PathBuf>("html")
            .map(|path| Page::open(path).map_err(|error| Failure::Usage(format!("--html: {} cannot be written: {error}", path.display()))));
        Ok(Self { is_json: matches.get_flag("json"), page: page.transpose()? })
    }

    /// There is nothing to write.
    pub(super) fn discard(&self) {
        if let Some(page) = self.page.as_ref().filter(|page| page.is_new) {
            let _ = std::fs::remove_file(&page.path);
        }
    }

    /// Prints the report, writes the page, and says what went wrong.
    pub(super) fn tell(&self, result: &Report) -> Result<(), Failure> {
        let printed = self.print(result);
        // A page that cannot be written is told of behind the report, which is not lost with it.
        let written = self
            .page
            .as_ref()
            .map_or(Ok(()), |page| page.write(result).map_err(|error| Failure::Other(format!("--html: {}: {error}", page.path.display()))));
        if let Err(error) = printed
            // Where nobody reads there is nobody to tell.
            && error.kind() != ErrorKind::BrokenPipe
        {
            // On standard error even with --json: standard output is what does not work.
            report::line(&format!("candor: standard output: {error}"));
            return Err(Failure::Said(Exit::Other));
        }
        written?;
        let faults = result.faults();
        if self.is_json {
            result.notes().iter().chain(&faults).for_each(|text| report::line(&format!("candor: {text}")));
        }
        if result.is_empty() {
            report::line("candor: nothing was measured: no target can do any of this");
            return Err(Failure::Said(Exit::Usage));
        }
        if faults.is_empty() { Ok(()) } else { Err(Failure::Said(Exit::Other)) }
    }

    fn print(&self, result: &Report) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.is_json {
            for line in result.to_json_lines() {
                writeln!(out, "{line}")?;
            }
        } else {
            out.write_all(result.to_text().as_bytes())?;
        }
        out.flush()
    }
}

impl Page {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true);
        let (file, is_new) = match options.create_new(true).open(path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (options.create_new(false).open(path)?, false),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), file, is_new })
    }

    fn write(&self, result: &Report) -> io::Result<()> {
        // A pipe or a terminal has no length.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        (&self.file).write_all(result.to_html().as_bytes())
    }
}

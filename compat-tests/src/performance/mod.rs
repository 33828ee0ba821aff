//! `docs/performance.md`, measured and written in one go.
//!
//! ```text
//! catalogue (which loads, against what) ─▶ measure (`candor bench`, run by run) ─▶ figures.json ─▶ page (template, tables, plots)
//!                  target (how each broker is started)       machine (where) ──────────┘
//! ```
//! The page holds no figure that is not in `figures.json`, and a test holds the page against both: it cannot be behind.

pub mod catalogue;
pub mod figures;
mod goal;
mod machine;
pub mod measure;
pub mod page;
mod paper;
mod plot;
pub mod profile;
mod table;
mod target;

use crate::outcome::{Checked, Stop};
use catalogue::Scale;
use figures::Figures;
use std::path::{Path, PathBuf};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    pub scale: Scale,
    /// Only loads whose name begins with one of these; empty: all.
    pub only: Vec<String>,
    /// The folder that holds `performance.md` and `performance/`.
    pub out: PathBuf,
    /// The cargo profile that broker and load generator are built with.
    pub profile: String,
    /// Write the page from the figures that are there.
    pub render: bool,
}

/// Where the page lives.
pub fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Measures and writes figures, page and plots. `said` is told what is being measured.
///
/// # Errors
/// Nothing could be measured, or a file cannot be read or written. A peer that is missing is no error: its cells say so.
pub fn run(request: &Request, said: &mut dyn FnMut(&str)) -> Checked {
    let folder = request.out.join("performance");
    std::fs::create_dir_all(&folder).map_err(|error| named(&folder, &error))?;
    let file = folder.join("figures.json");
    let figures = if request.render {
        let text = std::fs::read_to_string(&file).map_err(|error| named(&file, &error))?;
        serde_json::from_str(&text).map_err(|error| named(&file, &error))?
    } else {
        let figures = measure::all(request, said)?;
        write(&file, &(serde_json::to_string_pretty(&figures).map_err(|error| named(&file, &error))? + "\n"))?;
        figures
    };
    for (name, text) in files(&figures)? {
        write(&request.out.join(name), &text)?;
    }
    Ok(())
}

/// Every file that follows from figures, by its name below the folder of documents.
///
/// # Errors
/// The template asks for something that there is not.
pub fn files(figures: &Figures) -> Checked<Vec<(String, String)>> {
    let template = docs().join("performance/template.md");
    let text = std::fs::read_to_string(&template).map_err(|error| named(&template, &error))?;
    let mut files = vec![("performance.md".to_owned(), page::fill(&text, figures)?)];
    let plots = catalogue::growths(figures.scale).into_iter();
    files.extend(plots.map(|growth| (format!("performance/{}.svg", growth.name), plot::svg(&growth, figures))));
    Ok(files)
}

fn write(file: &Path, text: &str) -> Checked {
    std::fs::write(file, text).map_err(|error| named(file, &error))
}

fn named(file: &Path, error: &dyn std::fmt::Display) -> Stop {
    Stop::failed(format!("{}: {error}", file.display()))
}

//! Where reports go.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::error::{BenchError, Context, Result};
use crate::options::Options;
use crate::report::{self, Report, Section};

/// Complains now about what would fail after half an hour.
///
/// # Errors
/// A folder is missing, or a README has no place for the section.
pub fn check(options: &Options) -> Result<()> {
    for path in [&options.json, &options.svg, &options.markdown].into_iter().flatten() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) || path.is_dir() {
            return Err(BenchError::Missing {
                what: format!("{} cannot be written", path.display()),
                remedy: "make its folder, or name a file".to_owned(),
            });
        }
    }
    let Some(path) = &options.update_readme else { return Ok(()) };
    let scenarios = options.scenarios();
    let texts = Section::of(&scenarios).map(|section| (section, String::new()));
    with_sections(path, texts).map(|_| ())
}

/// Prints and writes what the options ask for.
///
/// # Errors
/// Which file cannot be written.
pub fn publish(options: &Options, report: &Report) -> Result<()> {
    print(&report::results_tables(report))?;
    print(&format!("\n{}", report::goals_table(&report.verdicts)))?;
    if let Some(path) = &options.json {
        write(path, &format!("{:#}\n", report::to_json(report)))?;
    }
    if let Some(path) = &options.svg {
        write(path, &report::to_svg(report))?;
    }
    // One that lies elsewhere would be a dead link for every other reader.
    let picture = options.svg.as_deref().filter(|path| path.is_relative());
    let picture = picture.map(Path::to_string_lossy);
    let texts: Vec<(Section, String)> = Section::of(&report.scenarios())
        .map(|section| (section, report::to_markdown(report, section, picture.as_deref())))
        .collect();
    if let Some(path) = &options.markdown {
        let texts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        write(path, &texts.join("\n"))?;
    }
    if let Some(path) = &options.update_readme {
        write(path, &with_sections(path, texts)?)?;
    }
    Ok(())
}

/// To standard output.
///
/// # Errors
/// If nobody listens.
pub fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}

/// A document with these sections replaced.
fn with_sections(
    path: &Path,
    texts: impl IntoIterator<Item = (Section, String)>,
) -> Result<String> {
    let name = path.display().to_string();
    let document = fs::read_to_string(path).context(name.as_str())?;
    texts
        .into_iter()
        .try_fold(document, |document, (section, text)| section.replace(&document, &name, &text))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).context(path.display().to_string())
}

//! Which pages are written by the code, and are they as it would write them?
//!
//! A setting, a metric, an error and a field of the access log are declared once, in the crate that has them; here is
//! only where their pages go.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::Outcome;
use crate::cargo::workspace_root;

/// What is done with the pages.
#[derive(clap::Args)]
pub(crate) struct GenOptions {
    /// Writes nothing; fails where a file differs from what would be written.
    #[arg(long)]
    pub(crate) check: bool,
}

/// A file that the code writes.
struct Page {
    /// From the workspace's directory.
    file: &'static str,
    content: fn() -> String,
}

const PAGES: &[Page] = &[
    Page {
        file: "docs/reference/configuration.md",
        content: isobar_config::reference_markdown,
    },
    Page {
        file: "docs/reference/limits.md",
        content: isobar_config::limits_markdown,
    },
    Page {
        file: "docs/reference/isobar.schema.json",
        content: schema,
    },
    Page {
        file: "docs/reference/scenario.md",
        content: isobar_config::scenario_markdown,
    },
    Page {
        file: "docs/reference/scenario.schema.json",
        content: scenario_schema,
    },
    Page {
        file: "docs/reference/metrics.md",
        content: isobar_observe::catalogue::reference_markdown,
    },
    Page {
        file: "docs/reference/errors.md",
        content: isobar_observe::errors_markdown,
    },
    Page {
        file: "docs/reference/access-log.md",
        content: isobar_observe::access::fields_markdown,
    },
];

fn schema() -> String {
    format!("{:#}", isobar_config::json_schema())
}

fn scenario_schema() -> String {
    format!("{:#}", isobar_config::scenario_schema())
}

/// Writes the pages, or checks them.
pub(crate) fn run(options: &GenOptions) -> Result<Outcome> {
    let mut differ = 0;
    for page in PAGES {
        let file = workspace_root().join(page.file);
        let wanted = with_one_newline((page.content)());
        let found = fs::read_to_string(&file).unwrap_or_default();
        let Some(line) = first_difference(&found, &wanted) else {
            continue;
        };
        if options.check {
            differ += 1;
            println!(
                "{}:{line}: differs from what the code says; run `cargo xtask gen`",
                page.file
            );
        } else {
            write(&file, &wanted)?;
            println!("wrote {}", page.file);
        }
    }
    println!("{} pages, {differ} differ", PAGES.len());
    Ok(if differ == 0 { Outcome::Passed } else { Outcome::Failed })
}

fn write(file: &Path, text: &str) -> Result<()> {
    let directory = file.parent().context("a page has no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("failed to create {}", directory.display()))?;
    fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}

fn with_one_newline(text: String) -> String {
    format!("{}\n", text.trim_end())
}

/// The first line that is not the same, from 1; none: the texts are equal.
fn first_difference(found: &str, wanted: &str) -> Option<usize> {
    if found == wanted {
        return None;
    }
    let same = found
        .lines()
        .zip(wanted.lines())
        .take_while(|(found, wanted)| found == wanted)
        .count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &str, wanted: &str, expected: Option<usize>) {
        assert_eq!(first_difference(found, wanted), expected, "{found:?} {wanted:?}");
    }

    #[test]
    fn finds_where_texts_part() {
        check("a\nb\n", "a\nb\n", None);
        check("a\nb\n", "a\nc\n", Some(2));
        check("", "a\n", Some(1));
        check("a\nb\n", "a\n", Some(2));
        check("a\n", "a", Some(2));
    }

    #[test]
    fn every_page_has_words_and_one_place() {
        for (index, page) in PAGES.iter().enumerate() {
            assert!((page.content)().len() > 100, "{}", page.file);
            assert!(
                PAGES[..index].iter().all(|other| other.file != page.file),
                "{}",
                page.file
            );
        }
    }
}

//! What do pages with plots have in common?
//!
//! Their style, which is light or dark as the reader's system is, and how their parts are put together. A page is one file: no
//! script, and nothing from elsewhere. Knows nothing of what a page is about.

use std::fmt::Write as _;

use crate::plot::escape;

const STYLE: &str = include_str!("page/style.css");

/// Colours that there are.
const COLORS: usize = 16;

/// A page with a title.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

/// A part of the page with a heading and a sentence.
pub(crate) fn section(title: &str, about: &str, content: &str) -> String {
    format!(
        "<section>\n<h2>{}</h2>\n<p>{}</p>\n{content}\n</section>\n",
        escape(title),
        escape(about)
    )
}

/// Parts side by side where there is room.
pub(crate) fn grid(sections: &[String]) -> String {
    format!("<div class=\"halves\">\n{}</div>\n", sections.concat())
}

/// The class of the colour of a run.
pub(crate) fn color(run: usize) -> String {
    format!("c{}", run % COLORS)
}

/// What the colours stand for: classes and words.
pub(crate) fn legend<'a>(entries: impl Iterator<Item = (String, &'a str)>) -> String {
    let mut legend = String::from("<div class=\"legend\">");
    for (class, name) in entries {
        // Writing to a string never fails.
        let _ = write!(legend, "<span class=\"{class}\"><b>{}</b></span>", escape(name));
    }
    legend.push_str("</div>");
    legend
}

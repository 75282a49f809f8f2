//! Diagnostics as text for a terminal: the source lines with marks, explanations and help.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level as Title, Origin, Renderer, Snippet};

use super::{Diagnostic, Level};
use crate::file::{File, Span};

/// Whether to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Plain text.
    Plain,
    /// With ANSI escape codes for colors.
    Coloured,
}

/// The maximum number of diagnostics that are printed; the others are only counted.
const MOST: usize = 50;
/// The distance in bytes from which a second location in the same line is not shown.
const FARTHEST: usize = 300;

/// Renders the diagnostics of a file, separated by empty lines. Only the first of very many are printed.
pub fn render(file: &File, diagnostics: &[Diagnostic], style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let shown = diagnostics.iter().take(MOST).map(|it| renderer.render(&[group(file, it)]) + "\n");
    let more = diagnostics.len().saturating_sub(MOST);
    let more = (more > 0).then(|| format!("and {more} more problems\n"));
    shown.chain(more).collect::<Vec<_>>().join("\n")
}

fn group<'a>(file: &'a File, diagnostic: &'a Diagnostic) -> Group<'a> {
    let level = match diagnostic.level {
        Level::Error => Title::ERROR,
        Level::Warning => Title::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.word());
    let snippet: Element<'_> = match diagnostic.span {
        Some(span) => {
            let label = Some(diagnostic.label.as_str()).filter(|label| !label.is_empty());
            let main = AnnotationKind::Primary.span(inside(file, span)).label(label);
            let others = diagnostic.labels.iter().filter(|it| is_near(file, span, it.span)).map(|it| {
                let text = Some(it.text.as_str()).filter(|text| !text.is_empty());
                AnnotationKind::Context.span(inside(file, it.span)).label(text)
            });
            Snippet::source(file.text()).path(file.path()).annotation(main).annotations(others).into()
        }
        None => Origin::path(file.path()).into(),
    };
    let notes = diagnostic.notes.iter().map(|note| Title::NOTE.message(note.as_str()));
    let help = diagnostic.help.iter().map(|help| Title::HELP.message(help.as_str()));
    title.element(snippet).elements(notes).elements(help)
}

/// Returns whether two locations can be shown together; they cannot if they are far apart in one very long line.
fn is_near(file: &File, one: Span, other: Span) -> bool {
    let between = inside(file, Span::new(one.start.min(other.start), one.start.max(other.start)));
    between.len() < FARTHEST || file.text().get(between).is_some_and(|text| text.contains('\n'))
}

/// Clamps a range to the text, and extends it to character boundaries.
fn inside(file: &File, span: Span) -> std::ops::Range<usize> {
    let text = file.text();
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}

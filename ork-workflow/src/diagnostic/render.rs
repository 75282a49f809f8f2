//! Diagnostics for people: the lines in question, marked, with reasons and help.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level as Title, Origin, Renderer, Snippet};

use super::{Diagnostic, Level};
use crate::file::{File, Span};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Letters only.
    Plain,
    /// With the colours of a terminal.
    Coloured,
}

/// So many are printed; the others are counted.
const MOST: usize = 50;
/// What is further away in the same line is not shown with it, in bytes.
const FARTHEST: usize = 300;

/// Prints diagnostics of a file, one after another, with an empty line between them. Of very many it prints the first.
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

/// Whether two places can be shown together: not at the two ends of a very long line.
fn is_near(file: &File, one: Span, other: Span) -> bool {
    let between = inside(file, Span::new(one.start.min(other.start), one.start.max(other.start)));
    between.len() < FARTHEST || file.text().get(between).is_some_and(|text| text.contains('\n'))
}

/// The bytes of a place, whatever it is, within the text and between characters.
fn inside(file: &File, span: Span) -> std::ops::Range<usize> {
    let text = file.text();
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}

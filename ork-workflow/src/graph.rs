//! Drawings of a plan: a text table, a Mermaid chart or a Graphviz graph.

use std::fmt::Write as _;

use crate::plan::{Count, FanOut, OnFailure, Plan, Reference, Runs, Step};

/// The output format of a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawing {
    /// One line for each task. Tasks with the same number can run at the same time.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// A Graphviz graph, in the DOT language.
    Dot,
}

/// Draws a plan. The output is deterministic.
pub fn draw(plan: &Plan, drawing: Drawing) -> String {
    match drawing {
        Drawing::Text => text(plan),
        Drawing::Mermaid => mermaid(plan),
        Drawing::Dot => dot(plan),
    }
}

fn name(plan: &Plan, index: usize) -> &str {
    plan.steps.get(index).map_or("?", |step| step.name.as_str())
}

fn reference(plan: &Plan, reference: &Reference) -> String {
    let fields = reference.path.iter().map(String::as_str);
    std::iter::once(name(plan, reference.step)).chain(fields).collect::<Vec<_>>().join(".")
}

/// Describes the instances of a task; empty if it runs once and has no concurrency limit.
fn instances(plan: &Plan, step: &Step) -> String {
    let Some(FanOut { foreach, parallel }) = &step.fan_out else { return String::new() };
    let each = foreach.as_ref().map(|it| format!("each of {}", reference(plan, it)));
    let times = parallel.as_ref().map(|count| match count {
        Count::Fixed(count) => format!("{count} times"),
        Count::Of(it) => format!("{} times", reference(plan, it)),
    });
    let most = step.concurrency.map(|most| format!("{most} at once"));
    [each, times, most].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn runs(step: &Step) -> String {
    match &step.runs {
        Runs::Rust { task } if *task == step.name => "rust".to_owned(),
        Runs::Rust { task } => format!("rust {task}"),
        Runs::Python { file } => format!("python {file}"),
        Runs::Process { command } => format!("process {}", command.join(" ")),
    }
}

/// Returns for each task the earliest wave in which it can start, counted from 1.
fn waves(plan: &Plan) -> Vec<usize> {
    let mut waves: Vec<usize> = Vec::new();
    for step in &plan.steps {
        let last = step.needs.iter().filter_map(|need| waves.get(*need)).max().copied().unwrap_or_default();
        waves.push(last + 1);
    }
    waves
}

fn text(plan: &Plan) -> String {
    let waves = waves(plan);
    let row = |(step, wave): (&Step, &usize)| {
        let needs: Vec<&str> = step.needs.iter().map(|need| name(plan, *need)).collect();
        let needs = if needs.is_empty() { String::new() } else { format!("<- {}", needs.join(", ")) };
        let failure = if step.on_failure == OnFailure::Run { "on failure too" } else { "" };
        [wave.to_string(), step.name.clone(), runs(step), instances(plan, step), needs, failure.to_owned()]
    };
    let mut rows: Vec<[String; 6]> = plan.steps.iter().zip(&waves).map(row).collect();
    rows.sort_by_key(|[wave, ..]| wave.parse::<usize>().unwrap_or_default());
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut lines = plan.name.clone();
    for row in &rows {
        let cells = row.iter().zip(widths).filter(|(_, width)| *width > 0);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
        lines.push('\n');
        lines.push_str(cells.join("  ").trim_end());
    }
    lines + "\n"
}

fn mermaid(plan: &Plan) -> String {
    let mut chart = "flowchart LR\n".to_owned();
    for (index, step) in plan.steps.iter().enumerate() {
        let (name, instances) = (escape(&step.name, "#quot;"), escape(&instances(plan, step), "#quot;"));
        line(
            &mut chart,
            &if step.fan_out.is_some() {
                format!("    t{index}[[\"{name}<br/>{instances}\"]]")
            } else {
                format!("    t{index}[\"{name}\"]")
            },
        );
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let arrow = if step.on_failure == OnFailure::Run { "-.->" } else { "-->" };
        for need in &step.needs {
            line(&mut chart, &format!("    t{need} {arrow} t{index}"));
        }
    }
    chart
}

fn dot(plan: &Plan) -> String {
    let mut graph = format!("digraph \"{}\" {{\n    rankdir=LR;\n    node [shape=box];\n", escape(&plan.name, "\\\""));
    for (index, step) in plan.steps.iter().enumerate() {
        let (name, instances) = (escape(&step.name, "\\\""), escape(&instances(plan, step), "\\\""));
        line(
            &mut graph,
            &if step.fan_out.is_some() {
                format!("    t{index} [label=\"{name}\\n{instances}\", peripheries=2];")
            } else {
                format!("    t{index} [label=\"{name}\"];")
            },
        );
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let style = if step.on_failure == OnFailure::Run { " [style=dashed]" } else { "" };
        for need in &step.needs {
            line(&mut graph, &format!("    t{need} -> t{index}{style};"));
        }
    }
    graph + "}\n"
}

fn line(to: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(to, "{text}");
}

/// Escapes a name for use between quotes. Control characters and backslashes are dropped.
fn escape(text: &str, quote: &str) -> String {
    text.chars().filter(|it| !it.is_control() && *it != '\\').collect::<String>().replace('"', quote)
}

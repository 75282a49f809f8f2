//! Assignability of numbers and strings: bounds, lengths, patterns and formats. If values may lie outside of the
//! bounds, the verdict is `Unknown`, not `No`.

use serde_json::{Map, Value};

use super::{Alternative, Fit, ValueType};

/// A bound: the number, and whether it is exclusive.
type Bound = Option<(f64, bool)>;

fn get(keys: &Map<String, Value>, key: &str) -> Option<f64> {
    keys.get(key).and_then(Value::as_f64)
}

fn lower(keys: &Map<String, Value>) -> Bound {
    let (at, beyond) = (get(keys, "minimum").map(|it| (it, false)), get(keys, "exclusiveMinimum").map(|it| (it, true)));
    match (at, beyond) {
        (Some(a), Some(b)) => Some(if b.0 >= a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn upper(keys: &Map<String, Value>) -> Bound {
    let (at, beyond) = (get(keys, "maximum").map(|it| (it, false)), get(keys, "exclusiveMaximum").map(|it| (it, true)));
    match (at, beyond) {
        (Some(a), Some(b)) => Some(if b.0 <= a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Compares a range with the range that is required.
fn range(from: (Bound, Bound), to: (Bound, Bound), what: &str, path: &str) -> Fit {
    let describe = |mine: f64, bound: &str| match from {
        (Some(a), Some(b)) if a.0.total_cmp(&b.0).is_eq() => format!("{what} is {mine}"),
        _ => format!("{what} is {bound} {mine}"),
    };
    let above = |a: (f64, bool), b: (f64, bool)| a.0 > b.0 || (a.0 >= b.0 && (a.1 || b.1));
    let within = |mine: (f64, bool), other: (f64, bool), lower: bool| {
        let beyond = if lower { mine.0 > other.0 } else { mine.0 < other.0 };
        beyond || (mine.0.total_cmp(&other.0).is_eq() && (mine.1 || !other.1))
    };
    let mut fit = Fit::Yes;
    if let Some(least) = to.0 {
        fit = fit.and(match from {
            (Some(mine), _) if within(mine, least, true) => Fit::Yes,
            (_, Some(most)) if above(least, most) => {
                let sign = if least.1 { "more than" } else { "at least" };
                Fit::never(path, format!("{} where {sign} {} is expected", describe(most.0, "at most"), least.0))
            }
            _ => Fit::Unknown(format!("{what} may be too small")),
        });
    }
    if let Some(most) = to.1 {
        fit = fit.and(match from {
            (_, Some(mine)) if within(mine, most, false) => Fit::Yes,
            (Some(least), _) if above(least, most) => {
                let sign = if most.1 { "less than" } else { "at most" };
                Fit::never(path, format!("{} where {sign} {} is expected", describe(least.0, "at least"), most.0))
            }
            _ => Fit::Unknown(format!("{what} may be too large")),
        });
    }
    fit
}

pub(super) fn number(from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
    let ends = |keys| (lower(keys), upper(keys));
    let fit = range(ends(&from.keys), ends(to), "the number", path);
    let steps = get(to, "multipleOf").map_or(Fit::Yes, |step| {
        let mine = get(&from.keys, "multipleOf").or((from.value_type == ValueType::Integer).then_some(1.0));
        let mine = from.value.as_ref().and_then(Value::as_f64).or(mine);
        match mine {
            Some(mine) if step > 0.0 && mine % step == 0.0 => Fit::Yes,
            _ => Fit::unknown("it is unknown whether the number is a multiple"),
        }
    });
    fit.and(steps).and(format(from, to))
}

/// Returns the bounds of a length. The lower bound is 0 by default.
fn length(keys: &Map<String, Value>, least: &str, most: &str) -> (Bound, Bound) {
    (Some((get(keys, least).unwrap_or(0.0), false)), get(keys, most).map(|it| (it, false)))
}

/// Returns the required bounds of a length. There is no lower bound unless the schema has one greater than 0.
fn required_length(keys: &Map<String, Value>, least: &str, most: &str) -> (Bound, Bound) {
    (get(keys, least).filter(|it| *it > 0.0).map(|it| (it, false)), get(keys, most).map(|it| (it, false)))
}

pub(super) fn text(from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
    let (mine, theirs) = (length(&from.keys, "minLength", "maxLength"), required_length(to, "minLength", "maxLength"));
    let pattern = match (from.keys.get("pattern"), to.get("pattern")) {
        (_, None) => Fit::Yes,
        (Some(mine), Some(theirs)) if mine == theirs => Fit::Yes,
        _ => Fit::unknown("it is unknown whether the string matches the pattern"),
    };
    range(mine, theirs, "the length", path).and(pattern).and(format(from, to))
}

pub(super) fn count(from: &Map<String, Value>, to: &Map<String, Value>, path: &str) -> Fit {
    let (mine, theirs) = (length(from, "minItems", "maxItems"), required_length(to, "minItems", "maxItems"));
    range(mine, theirs, "the length of the list", path)
}

/// Compares formats by their names, except for those of numbers.
fn format(from: &Alternative, to: &Map<String, Value>) -> Fit {
    match (from.keys.get("format"), to.get("format")) {
        (_, None) => Fit::Yes,
        (Some(mine), Some(theirs)) if mine == theirs || widens(mine, theirs) => Fit::Yes,
        _ => Fit::unknown("it is unknown whether it has the format"),
    }
}

/// Returns whether every number of the first format is also one of the second. The formats have the names that Rust
/// types get, such as `uint32`.
fn widens(from: &Value, to: &Value) -> bool {
    /// Returns whether an integer format is signed, and its number of bits.
    fn integer(format: &str) -> Option<(bool, u32)> {
        let (is_signed, bits) = match format.strip_prefix('u') {
            Some(rest) => (false, rest.strip_prefix("int")?),
            None => (true, format.strip_prefix("int")?),
        };
        Some((is_signed, if bits.is_empty() { 64 } else { bits.parse().ok()? }))
    }
    let (Some(from), Some(to)) = (from.as_str(), to.as_str()) else { return false };
    match (integer(from), integer(to)) {
        (Some((false, mine)), Some((true, theirs))) => mine < theirs,
        (Some((true, _)), Some((false, _))) | (None, Some(_)) => false,
        (Some((_, mine)), Some((_, theirs))) => mine <= theirs,
        (Some(_), None) => matches!(to, "float" | "double"),
        (None, None) => (from, to) == ("float", "double"),
    }
}

//! The values of options. There is one function for each kind of value, with the message for an invalid one.

use std::time::Duration;

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote};
use syn::{Expr, ExprAssign, ExprLit, ExprUnary, Lit, LitStr, Path, UnOp};

/// The expression after the `=` of an option, if there is one.
pub(super) type Value = Option<Expr>;

/// Whether the other parts still start after a failure.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OnError {
    Finish,
    Stop,
}

/// The number of failed parts that are tolerated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tolerate {
    Count(u64),
    Percent(f64),
}

/// The number of calls that may run at once, and an input with a separate limit for each of its values.
#[derive(Debug, Clone)]
pub(crate) struct Concurrency {
    pub(crate) calls: u32,
    pub(crate) key: Option<LitStr>,
}

/// The maximum length of a name. It leaves room for a prefix in the name of a queue.
const LONGEST: usize = 200;

/// Checks an option that takes no value.
pub(super) fn flag(option: &Ident, value: Value) -> syn::Result<()> {
    match value {
        None => Ok(()),
        Some(value) => Err(wrong(value, format!("`{option}` takes no value"))),
    }
}

/// Reads a name that can be used as a queue and a routing key.
pub(super) fn name(option: &Ident, value: Value) -> syn::Result<String> {
    let literal = text(option, value, "\"..\"")?;
    let name = literal.value();
    match name_problem(&name) {
        None => Ok(name),
        Some(problem) => Err(wrong(literal, format!("`{option}` {problem}"))),
    }
}

/// Returns the reason why a string cannot be the name of a task or queue, if there is one.
pub(super) fn name_problem(name: &str) -> Option<String> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match name.chars().find(|c| !allowed(c)) {
        _ if name.is_empty() => Some("is empty".to_owned()),
        Some(c) => Some(format!("contains `{c}`: expected letters a to z and A to Z, digits, `_`, `-` and `.`")),
        None if name.len() > LONGEST => Some(format!("is longer than {LONGEST} characters")),
        None => None,
    }
}

/// Reads an integer within a range.
pub(super) fn number(option: &Ident, value: Value, least: u32, most: u32) -> syn::Result<u32> {
    let message = match (least, most) {
        (0, u32::MAX) => format!("`{option}` must be an integer, such as `{option} = 3`"),
        (_, u32::MAX) => {
            format!("`{option}` must be an integer of at least {least}, such as `{option} = 100`")
        }
        _ => format!("`{option}` must be an integer from {least} to {most}"),
    };
    match literal(option, value, "3")? {
        (Some(Lit::Int(number)), _) => match number.base10_parse::<u32>() {
            Ok(found) if (least..=most).contains(&found) && number.suffix().is_empty() => Ok(found),
            Ok(_) | Err(_) => Err(wrong(number, message)),
        },
        (_, whole) => Err(wrong(whole, message)),
    }
}

/// Reads a duration such as `"1h 30m"`.
pub(super) fn duration(option: &Ident, value: Value) -> syn::Result<Duration> {
    let literal = text(option, value, "\"30s\"")?;
    parse_duration(&literal.value()).map_err(|problem| {
        let example = "expected numbers with `ms`, `s`, `m`, `h` or `d`, such as \"500ms\" or \"1h 30m\"";
        wrong(&literal, format!("`{option}` {problem}: {example}"))
    })
}

/// Reads a duration that is not zero.
pub(super) fn some_duration(option: &Ident, value: Value) -> syn::Result<Duration> {
    let place = value.clone();
    match duration(option, value)? {
        Duration::ZERO => Err(wrong(place, format!("`{option}` must be greater than zero"))),
        duration => Ok(duration),
    }
}

/// Reads `"stop"` or `"finish"`.
pub(super) fn on_error(option: &Ident, value: Value) -> syn::Result<OnError> {
    let literal = text(option, value, "\"stop\"")?;
    match literal.value().as_str() {
        "finish" => Ok(OnError::Finish),
        "stop" => Ok(OnError::Stop),
        _ => {
            let message = "`on_error` must be \"finish\" (every part runs to its end) or \"stop\" (the first failure \
                           skips parts that have not started)";
            Err(wrong(literal, message))
        }
    }
}

/// Reads `"5%"` or a count.
pub(super) fn tolerate(option: &Ident, value: Value) -> syn::Result<Tolerate> {
    let message = "`tolerate` must be a number of parts such as `3`, or a share from \"0%\" to \"100%\"";
    match literal(option, value, "\"5%\"")? {
        (Some(Lit::Int(number)), _) if number.suffix().is_empty() => match number.base10_parse() {
            Ok(count) => Ok(Tolerate::Count(count)),
            Err(_) => Err(wrong(number, message)),
        },
        (Some(Lit::Str(share)), whole) => match share.value().strip_suffix('%').map(str::parse::<f64>) {
            Some(Ok(share)) if (0.0..=100.0).contains(&share) => Ok(Tolerate::Percent(share)),
            Some(_) | None => Err(wrong(whole, message)),
        },
        (_, whole) => Err(wrong(whole, message)),
    }
}

/// Reads `4` or `(4, key = "tenant")`.
pub(super) fn concurrency(option: &Ident, value: Value) -> syn::Result<Concurrency> {
    let (calls, key) = match value {
        Some(Expr::Paren(paren)) => (Some(*paren.expr), None),
        Some(Expr::Tuple(tuple)) => {
            let mut elems = tuple.elems.into_iter();
            let (calls, key, more) = (elems.next(), elems.next(), elems.next());
            if let Some(more) = more {
                return Err(wrong(
                    more,
                    format!("`{option}` takes a number and a key: `{option}(4, key = \"tenant\")`"),
                ));
            }
            (calls, key)
        }
        value => (value, None),
    };
    let calls = number(option, calls, 1, u32::MAX)?;
    let Some(key) = key else { return Ok(Concurrency { calls, key: None }) };
    let message = format!("the key must be the name of an input of the task: `{option}({calls}, key = \"tenant\")`");
    match &key {
        Expr::Assign(ExprAssign { left, right, .. }) => match (&**left, &**right) {
            (Expr::Path(left), Expr::Lit(ExprLit { lit: Lit::Str(name), .. })) if left.path.is_ident("key") => {
                Ok(Concurrency { calls, key: Some(name.clone()) })
            }
            _ => Err(wrong(&key, message)),
        },
        _ => Err(wrong(&key, message)),
    }
}

/// Reads the path of ork's crate and makes it absolute.
pub(super) fn krate(option: &Ident, value: Value) -> syn::Result<TokenStream> {
    let literal = text(option, value, "\"other_name\"")?;
    let path = literal.parse_with(Path::parse_mod_style);
    let path =
        path.map_err(|_not_a_path| wrong(&literal, "`crate` must be the path of ork's crate, such as \"other_name\""))?;
    let starts_at_a_keyword = path
        .segments
        .first()
        .is_some_and(|first| ["crate", "self", "super"].iter().any(|keyword| first.ident == keyword));
    Ok(match path.leading_colon {
        None if !starts_at_a_keyword => quote!(::#path),
        Some(_) | None => quote!(#path),
    })
}

fn text(option: &Ident, value: Value, example: &str) -> syn::Result<LitStr> {
    match literal(option, value, example)? {
        (Some(Lit::Str(text)), _) => Ok(text),
        (_, whole) => Err(wrong(whole, format!("`{option}` must be a string literal, such as `{option} = {example}`"))),
    }
}

/// Returns the literal, and the whole value for its span. The literal is `None` if it is negative, which no option
/// accepts.
fn literal(option: &Ident, value: Value, example: &str) -> syn::Result<(Option<Lit>, Expr)> {
    let whole =
        value.ok_or_else(|| wrong(option, format!("`{option}` needs a value, such as `{option} = {example}`")))?;
    let mut inner = &whole;
    // A literal that comes from a `macro_rules!` is inside an invisible group.
    while let Expr::Group(group) = inner {
        inner = &group.expr;
    }
    match inner {
        Expr::Lit(ExprLit { lit, .. }) => Ok((Some(lit.clone()), whole)),
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) if matches!(**expr, Expr::Lit(_)) => Ok((None, whole)),
        _ => Err(wrong(&whole, format!("`{option}` takes a literal, such as `{option} = {example}`"))),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("is empty".to_owned());
    }
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let seconds = match unit {
            _ if digits.is_empty() => return Err(format!("has no number before `{rest}`")),
            "ms" => 0,
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "" => return Err(format!("has no unit after `{digits}`")),
            unit => return Err(format!("has the unknown unit `{unit}`")),
        };
        let number: u64 = digits.parse().map_err(|_overflow| "is too long".to_owned())?;
        let step = match seconds {
            0 => Some(Duration::from_millis(number)),
            seconds => number.checked_mul(seconds).map(Duration::from_secs),
        };
        let longer = step.and_then(|step| total.checked_add(step)).filter(|total| *total <= MOST);
        total = longer.ok_or_else(|| "is too long".to_owned())?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// A hundred years. A longer duration is a mistake, and would overflow a clock.
const MOST: Duration = Duration::from_hours(100 * 365 * 24);

fn wrong(tokens: impl ToTokens, message: impl std::fmt::Display) -> syn::Error {
    syn::Error::new_spanned(tokens, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            (" 30s ", 30_000),
            ("2m", 120_000),
            ("1h 30m", 5_400_000),
            ("1h30m5s", 5_405_000),
            ("1d", 86_400_000),
            ("36500d", 36_500 * 86_400_000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        for text in ["", " ", "s", "1", "1 s", "1.5s", "1sec", "-1s", "1s,", "36501d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_must_be_valid_queue_names() {
        assert_eq!(name_problem("a.B-c_9"), None);
        assert!(name_problem("").is_some());
        assert!(name_problem("a b").is_some());
        assert!(name_problem(&"a".repeat(LONGEST + 1)).is_some());
    }
}

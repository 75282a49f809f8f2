//! Canonical JSON: two texts are equal exactly if their values are. Escapes, whitespace, the order of keys, and the
//! form of numbers make no difference.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

/// The maximum depth of a value that a task can read. A deeper value is kept as it was written.
const DEEPEST: usize = 128;

/// Returns the canonical text of a JSON value.
pub(super) fn canonical(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    write(json, DEEPEST, &mut text);
    text
}

/// Shortens a canonical text to at most `longest` bytes. A digest of the whole text replaces the rest, so that
/// different texts stay different.
pub(super) fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes());
    // The digest has 36 letters, and the dots three.
    let end = text.floor_char_boundary(longest.saturating_sub(39));
    Cow::Owned(format!("{}...{digest}", text.get(..end).unwrap_or_default()))
}

fn write(json: &str, deeper: usize, text: &mut String) {
    let json = json.trim_matches([' ', '\t', '\n', '\r']);
    let begin = text.len();
    let known = deeper > 0
        && match json.as_bytes().first() {
            Some(b'{') => object(json, deeper - 1, text),
            Some(b'[') => list(json, deeper - 1, text),
            Some(b'"') => string(json, text),
            Some(b'-' | b'0'..=b'9') => number(json, text),
            _ => false,
        };
    if !known {
        text.truncate(begin);
        text.push_str(json);
    }
}

fn object(json: &str, deeper: usize, text: &mut String) -> bool {
    // The last one of duplicate keys counts, as it does for readers.
    let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) else { return false };
    text.push('{');
    for (place, (key, value)) in fields.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&quoted(&key));
        text.push(':');
        write(value.get(), deeper, text);
    }
    text.push('}');
    true
}

fn list(json: &str, deeper: usize, text: &mut String) -> bool {
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(json) else { return false };
    text.push('[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        write(item.get(), deeper, text);
    }
    text.push(']');
    true
}

fn string(json: &str, text: &mut String) -> bool {
    let Ok(value) = serde_json::from_str::<Cow<'_, str>>(json) else { return false };
    text.push_str(&quoted(&value));
    true
}

fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// Writes a number as an integer and a power of ten: exact, however large the number is.
fn number(json: &str, text: &mut String) -> bool {
    let (sign, digits) = json.strip_prefix('-').map_or(("", json), |digits| ("-", digits));
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (Ok(exponent), Ok(places)) = (exponent.parse::<i64>(), i64::try_from(fraction.len())) else { return false };
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let (Ok(zeros), kept) = (i64::try_from(digits.len() - kept.len()), kept.trim_start_matches('0')) else {
        return false;
    };
    if kept.is_empty() {
        text.push('0');
        return true;
    }
    let Some(power) = exponent.checked_sub(places).and_then(|power| power.checked_add(zeros)) else { return false };
    text.push_str(sign);
    text.push_str(kept);
    match power {
        0 => {}
        // The usual form.
        1..=20 => text.extend((0..power).map(|_| '0')),
        _ => {
            let _infallible = write!(text, "e{power}");
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Generates a value and one of the many texts that represent it.
    fn value() -> impl Strategy<Value = (Value, String)> {
        let blank = || prop::sample::select(vec!["", " ", "\n\t ", "\r"]);
        let leaf = prop_oneof![
            Just((Value::Null, "null".to_owned())),
            any::<bool>().prop_map(|value| (value.into(), value.to_string())),
            (any::<i32>(), 0..4_usize).prop_map(|(number, form)| {
                let text = match form {
                    0 => number.to_string(),
                    1 => format!("{number}.0"),
                    2 => format!("{number}.000e0"),
                    _ => format!("{number}00E-2"),
                };
                (number.into(), text)
            }),
            ("[a-c\u{e9}\u{2603}\"\\\\\u{0}]{0,3}", any::<bool>()).prop_map(|(value, escaped)| {
                let escape = |letter: u16| format!("\\u{letter:04x}");
                let text = format!("\"{}\"", value.encode_utf16().map(escape).collect::<String>());
                let plain = Value::from(value.as_str()).to_string();
                (value.into(), if escaped { text } else { plain })
            }),
        ];
        let leaf = (leaf, blank()).prop_map(|((value, text), blank)| (value, format!("{blank}{text}{blank}")));
        leaf.prop_recursive(3, 12, 3, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..3).prop_map(|items| {
                let (values, texts): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                (Value::Array(values), format!("[{}]", texts.join(",")))
            });
            let object =
                (prop::collection::btree_map("[a-c]", inner, 0..3), any::<bool>()).prop_map(|(fields, back)| {
                    let mut texts: Vec<_> =
                        fields.iter().map(|(key, (_, text))| format!("\"{key}\" :{text}")).collect();
                    if back {
                        texts.reverse();
                    }
                    let values = fields.into_iter().map(|(key, (value, _))| (key, value)).collect();
                    (Value::Object(values), format!("{{{}}}", texts.join(" ,")))
                });
            prop_oneof![list, object]
        })
    }

    proptest! {
        /// A regression test: comparing raw texts gave one value in two forms two limits.
        #[test]
        fn canonical_texts_are_equal_exactly_if_their_values_are(one in value(), other in value(), again in value()) {
            prop_assert_eq!(canonical(&one.1) == canonical(&other.1), one.0 == other.0);
            prop_assert_eq!(canonical(&canonical(&one.1)), canonical(&one.1));
            // The same value in two forms, nested in another value.
            let inside = |text: &str| canonical(&format!("{{\"k\":[{text}]}}"));
            prop_assert_eq!(inside(&again.1), inside(&canonical(&again.1)));
        }

        #[test]
        fn shortened_texts_stay_distinct(begin in "[a-z]{0,60}", one in "[a-z]{0,9}", other in "[a-z]{0,9}") {
            let (one, other) = (format!("{begin}{one}"), format!("{begin}{other}"));
            prop_assert_eq!(shortened(&one, 50) == shortened(&other, 50), one == other);
            prop_assert!(shortened(&one, 50).len() <= 50);
        }
    }

    #[test]
    fn numbers_are_compared_by_every_digit() {
        let same =
            [("1", "1.0"), ("100", "1e2"), ("-0", "0.0"), ("1E+2", "100.00"), ("0.001", "1e-3"), ("1e400", "10e399")];
        for (one, other) in same {
            assert_eq!(canonical(one), canonical(other));
        }
        let different = [
            ("1", "-1"),
            ("1", "10"),
            ("18446744073709551616", "18446744073709551617"),
            ("0.1", "0.10000000000000001"),
        ];
        for (one, other) in different {
            assert_ne!(canonical(one), canonical(other));
        }
        assert_eq!(canonical("1500"), "1500");
    }

    #[test]
    fn unreadable_value_is_kept_as_written() {
        for json in [
            "\"\\ud800\"",
            "1e99999999999999999999",
            &"[".repeat(100_000),
            &format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        ] {
            assert_eq!(canonical(json), json);
        }
    }
}

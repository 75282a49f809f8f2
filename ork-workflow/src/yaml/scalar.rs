//! The meaning of unquoted words, by the core schema of YAML 1.2.

use serde_json::Number;

use super::Kind;

/// Interprets a word; `None` if it is a number that JSON cannot represent.
pub(super) fn plain(word: &str) -> Option<Kind> {
    Some(match word {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ if is_special(word) => return None,
        _ if is_number(word) => Kind::Number(number(word)?),
        _ => Kind::Text(word.to_owned()),
    })
}

/// Returns whether a word is infinity or not-a-number.
fn is_special(word: &str) -> bool {
    let bare = word.strip_prefix(['-', '+']).unwrap_or(word);
    matches!(bare, ".inf" | ".Inf" | ".INF") || matches!(word, ".nan" | ".NaN" | ".NAN")
}

/// Splits a hexadecimal or octal number into its digits and its base.
fn split_base(word: &str) -> Option<(&str, u32)> {
    let hexadecimal = word.strip_prefix("0x").map(|digits| (digits, 16));
    let split_base = hexadecimal.or_else(|| word.strip_prefix("0o").map(|digits| (digits, 8)));
    split_base.filter(|(digits, base)| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(*base)))
}

fn is_number(word: &str) -> bool {
    split_base(word).is_some() || is_float(word.strip_prefix(['-', '+']).unwrap_or(word))
}

/// Parses a number; `None` if JSON cannot represent it.
fn number(word: &str) -> Option<Number> {
    if let Some((digits, base)) = split_base(word) {
        return u64::from_str_radix(digits, base).ok().map(Number::from);
    }
    let unsigned = word.strip_prefix('+').unwrap_or(word);
    if unsigned.contains(['.', 'e', 'E']) {
        return unsigned.parse::<f64>().ok().and_then(Number::from_f64);
    }
    unsigned.parse::<i64>().map(Number::from).or_else(|_| unsigned.parse::<u64>().map(Number::from)).ok()
}

/// Returns whether a word without its sign matches
/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`.
fn is_float(bare: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let (mantissa, exponent) = bare.split_once(['e', 'E']).map_or((bare, None), |(it, exponent)| (it, Some(exponent)));
    let exponent = exponent.map(|it| it.strip_prefix(['-', '+']).unwrap_or(it));
    if exponent.is_some_and(|it| it.is_empty() || !digits(it)) {
        return false;
    }
    match mantissa.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part) && (!whole.is_empty() || !part.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unquoted_words_follow_the_yaml_1_2_core_schema() {
        let json = |word| super::super::Node::new(crate::Span::default(), plain(word).unwrap()).json().unwrap();
        for word in
            ["no", "yes", "on", "off", "y", "1_000", "1:30", "0b1", "e5", ".", "-", "+", "0x", "nan", "-.e1", "1e"]
        {
            assert_eq!(json(word), word, "{word}");
        }
        for (word, value) in [("12", 12), ("-3", -3), ("+4", 4), ("0x1f", 31), ("0o17", 15), ("010", 10)] {
            assert_eq!(json(word), value, "{word}");
        }
        for (word, value) in [("1.5", 1.5), ("-.5", -0.5), ("1e3", 1000.0), ("1.", 1.0)] {
            assert_eq!(json(word), value, "{word}");
        }
        assert_eq!(json("18446744073709551615"), u64::MAX);
        for word in [".inf", "-.INF", ".nan", "18446744073709551616", "1e999"] {
            assert!(plain(word).is_none(), "{word}");
        }
    }
}

//! Assignability of lists: their items, their first items and their length.

use serde_json::{Map, Value};

use super::{Alternative, Comparison, Fit, scalars};
use crate::schema::parts;

impl Comparison<'_> {
    pub(super) fn list(&mut self, from: &Alternative, to: &Map<String, Value>, path: &str) -> Fit {
        let inner = format!("{path}[]");
        let anything = Value::Bool(true);
        let (mine, theirs) = (parts(&from.keys, "prefixItems"), parts(to, "prefixItems"));
        let rest = from.keys.get("items").unwrap_or(&anything);
        let (accepted, is_closed) = (to.get("items").unwrap_or(&anything), *rest == Value::Bool(false));
        let bound = |key: &str| from.keys.get(key).and_then(Value::as_u64).and_then(|it| usize::try_from(it).ok());
        let least = bound("minItems").unwrap_or(0);
        let most = bound("maxItems").unwrap_or(usize::MAX).min(if is_closed { mine.len() } else { usize::MAX });
        let mut counted = from.keys.clone();
        if is_closed && !counted.contains_key("maxItems") {
            counted.insert("maxItems".to_owned(), mine.len().into());
        }
        let mut fit = scalars::count(&counted, to, path);
        for index in 0..mine.len().max(theirs.len()).min(most) {
            let at = format!("{path}[{index}]");
            let one = self.all_fit(mine.get(index).unwrap_or(rest), theirs.get(index).unwrap_or(accepted), &at);
            // A list that is too short to have this item fits in any case.
            fit = fit.and(if least > index { one } else { one.sometimes() });
        }
        let looked_at = mine.len().max(theirs.len());
        if most > looked_at {
            let one = self.all_fit(rest, accepted, &inner);
            fit = fit.and(if least > looked_at { one } else { one.sometimes() });
        }
        let unique = |keys: &Map<String, Value>| keys.get("uniqueItems") == Some(&Value::Bool(true));
        if unique(to) && !unique(&from.keys) && most > 1 {
            fit = fit.and(Fit::unknown("it is unknown whether the items are unique"));
        }
        fit
    }
}

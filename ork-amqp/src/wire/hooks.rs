//! Hooks as headers: `part_id`, `total_parts`, `part_queue`, and `on_complete` as JSON text or as an AMQP list.

use std::fmt::Write as _;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::{Headers, JSON, Publication, number, text};
use crate::error::LinkError;
use crate::topology::{Names, short};
use ork_core::hook::{Allowed, HookError, Hooks, MOST_BYTES, MOST_HOOKS, MOST_PARTS, OnComplete, PartHook};
use ork_core::message::{HookMessage, Limits, WorkKind};
use ork_ports::broker::DeadLetterReason;

pub(super) const PART_ID: &str = "part_id";
pub(super) const TOTAL_PARTS: &str = "total_parts";
const PART_QUEUE: &str = "part_queue";

/// The header with the real number of parts of a set made by ork.
const TOTAL: &str = "ork-total";

/// The value of `total_parts` for sets made by ork: larger than the number of records in any queue. A worker that
/// does not know ork therefore leaves its record in the queue and does nothing else; it could not join the parts, and
/// would delete the queue.
pub(super) const FOREIGN_TOTAL_PARTS: u64 = MOST_PARTS;

const ON_COMPLETE: &str = "on_complete";

/// The name of this header in the documents of the system that hooks come from.
const ONCOMPLETE: &str = "oncomplete";

/// Encodes the message of a hook, or its dead letter.
pub(super) fn encode(hook: HookMessage, names: &Names) -> Result<Publication, LinkError> {
    let HookMessage { id, route, task, body, failed } = hook;
    let properties = BasicProperties::default()
        .with_content_type(JSON.into())
        .with_delivery_mode(2)
        .with_message_id(short(&id.to_string())?)
        .with_type(short(&task)?);
    let Some(why) = failed else {
        // This exchange has no alternate exchange, so that a message which no queue accepts is returned.
        let exchange = names.hooks.clone();
        return Ok(Publication { exchange, routing_key: short(&route)?, mandatory: true, properties, body });
    };
    let mut headers = FieldTable::default();
    let (exchange, reason) = (names.exchange.as_str(), DeadLetterReason::NoRoute.as_str());
    for (name, value) in
        [("x-ork-reason", reason), ("x-ork-detail", &why), ("x-ork-exchange", exchange), ("x-ork-routing-key", &route)]
    {
        headers.insert(name.into(), text(value));
    }
    let properties = properties.with_headers(headers);
    Ok(Publication {
        exchange: ShortString::default(),
        routing_key: names.dead.clone(),
        mandatory: true,
        properties,
        body,
    })
}

/// Adds hooks to headers.
pub(super) fn write(hooks: &Hooks, kind: WorkKind, headers: &mut FieldTable) {
    let Hooks { part, on_complete } = hooks;
    if let Some(PartHook { part_id, total_parts, part_queue }) = part {
        headers.insert(PART_ID.into(), number(*part_id));
        if matches!(kind, WorkKind::Part { .. }) {
            headers.insert(TOTAL_PARTS.into(), number(FOREIGN_TOTAL_PARTS));
            headers.insert(TOTAL.into(), number(*total_parts));
        } else {
            headers.insert(TOTAL_PARTS.into(), number(*total_parts));
        }
        headers.insert(PART_QUEUE.into(), text(part_queue));
    }
    if !on_complete.is_empty() {
        headers.insert(ON_COMPLETE.into(), text(&OnComplete::write_all(on_complete)));
    }
}

/// Reads the hooks from headers, if there are any.
pub(super) fn read(headers: Headers<'_>, kind: WorkKind, allowed: &Allowed) -> Result<Option<Box<Hooks>>, String> {
    let wrong = |error: HookError| error.to_string();
    let queue = headers.text(PART_QUEUE)?;
    let total = if matches!(kind, WorkKind::Part { .. }) { headers.number(TOTAL)? } else { None };
    let (id, total) =
        (headers.number(PART_ID)?, total.map_or_else(|| headers.number(TOTAL_PARTS), |total| Ok(Some(total)))?);
    let part = PartHook::read(id, total, queue, allowed).map_err(wrong)?;
    if let (Some(part), WorkKind::Part { index, .. }) = (&part, kind) {
        part.check_range().map_err(wrong)?;
        if part.part_id != index {
            return Err(format!("the header `{PART_ID}` is {}, but `ork-index` is {index}", part.part_id));
        }
    }
    let given = match (headers.get(ON_COMPLETE), headers.get(ONCOMPLETE)) {
        (Some(_), Some(_)) => return Err(wrong(HookError::Twice)),
        (given, other) => given.or(other),
    };
    let on_complete = given.map(|given| on_complete(given, allowed)).transpose().map_err(wrong)?.unwrap_or_default();
    let hooks = Hooks { part, on_complete };
    Ok((!hooks.is_empty()).then(|| Box::new(hooks)))
}

fn on_complete(given: &AMQPValue, allowed: &Allowed) -> Result<Vec<OnComplete>, HookError> {
    let json = match given {
        AMQPValue::LongString(text) => return OnComplete::read_all(text.as_bytes(), allowed),
        AMQPValue::ByteArray(text) => return OnComplete::read_all(text.as_slice(), allowed),
        AMQPValue::FieldArray(hooks) if hooks.as_slice().len() > MOST_HOOKS => {
            return Err(HookError::TooMany { found: hooks.as_slice().len() });
        }
        list => json_of(list)?,
    };
    OnComplete::read_all(json.as_bytes(), allowed)
}

/// Converts an AMQP value to JSON.
fn json_of(value: &AMQPValue) -> Result<String, HookError> {
    let mut json = String::new();
    append(value, &mut json, Limits::default().depth)?;
    Ok(json)
}

fn append(value: &AMQPValue, json: &mut String, depth: usize) -> Result<(), HookError> {
    if json.len() > MOST_BYTES {
        return Err(HookError::TooLarge { found: json.len() });
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(HookError::TooDeep { most: Limits::default().depth });
    };
    match value {
        AMQPValue::Boolean(value) => add(json, value),
        AMQPValue::ShortShortInt(value) => add(json, value),
        AMQPValue::ShortShortUInt(value) => add(json, value),
        AMQPValue::ShortInt(value) => add(json, value),
        AMQPValue::ShortUInt(value) => add(json, value),
        AMQPValue::LongInt(value) => add(json, value),
        AMQPValue::LongUInt(value) => add(json, value),
        AMQPValue::LongLongInt(value) => add(json, value),
        AMQPValue::Timestamp(value) => add(json, value),
        AMQPValue::Float(value) => json.push_str(&serde_json::Value::from(*value).to_string()),
        AMQPValue::Double(value) => json.push_str(&serde_json::Value::from(*value).to_string()),
        AMQPValue::Void => json.push_str("null"),
        AMQPValue::ShortString(value) => json.push_str(&quoted(value.as_str())),
        AMQPValue::LongString(value) => json.push_str(&quoted(&String::from_utf8_lossy(value.as_bytes()))),
        AMQPValue::ByteArray(value) => json.push_str(&quoted(&String::from_utf8_lossy(value.as_slice()))),
        AMQPValue::DecimalValue(_) => {
            return Err(HookError::NoList { detail: "an AMQP decimal cannot be converted to JSON".to_owned() });
        }
        AMQPValue::FieldArray(values) => {
            json.push('[');
            for (at, value) in values.as_slice().iter().enumerate() {
                json.push_str(if at == 0 { "" } else { "," });
                append(value, json, depth)?;
            }
            json.push(']');
        }
        AMQPValue::FieldTable(fields) => {
            json.push('{');
            for (at, (name, value)) in fields.inner().iter().enumerate() {
                json.push_str(if at == 0 { "" } else { "," });
                json.push_str(&quoted(name.as_str()));
                json.push(':');
                append(value, json, depth)?;
            }
            json.push('}');
        }
    }
    Ok(())
}

fn add(json: &mut String, value: &impl std::fmt::Display) {
    let _infallible = write!(json, "{value}");
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn table(fields: &[(&str, AMQPValue)]) -> FieldTable {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), value.clone()));
        FieldTable::from(fields.collect::<BTreeMap<_, _>>())
    }

    fn hooks(fields: &[(&str, AMQPValue)], kind: WorkKind) -> Result<Option<Box<Hooks>>, String> {
        read(Headers(Some(&table(fields))), kind, &Allowed::default())
    }

    #[test]
    fn hooks_in_amqp_tables_are_read_as_json() {
        let inputs = table(&[
            ("f", AMQPValue::Double(1.5)),
            ("l", AMQPValue::FieldArray(vec![AMQPValue::Void, AMQPValue::Boolean(true)].into())),
            ("n", AMQPValue::LongInt(-7)),
            ("t", text("\"\u{e4}\n")),
        ]);
        let hook =
            table(&[("route", text("done")), ("when", text("success")), ("inputs", AMQPValue::FieldTable(inputs))]);
        let list = AMQPValue::FieldArray(vec![AMQPValue::FieldTable(hook)].into());
        for name in ["on_complete", "oncomplete"] {
            let found = hooks(&[(name, list.clone())], WorkKind::Job).unwrap().unwrap();
            let [hook] = &found.on_complete[..] else { panic!("{found:?}") };
            assert_eq!(hook.inputs.as_deref(), Some(r#"{"f":1.5,"l":[null,true],"n":-7,"t":"\"ä\n"}"#));
            // ork itself writes text, with the same meaning.
            let mut headers = FieldTable::default();
            write(&found, WorkKind::Job, &mut headers);
            assert_eq!(read(Headers(Some(&headers)), WorkKind::Job, &Allowed::default()).unwrap(), Some(found));
        }
    }

    #[test]
    fn total_parts_for_foreign_workers_is_larger_than_any_queue() {
        let part = PartHook { part_id: 1, total_parts: 3, part_queue: "part.a".to_owned() };
        let (written, kind) =
            (Hooks { part: Some(part), on_complete: Vec::new() }, WorkKind::Part { epoch: 7, index: 1 });
        let mut headers = FieldTable::default();
        write(&written, kind, &mut headers);
        assert_eq!(Headers(Some(&headers)).number(TOTAL_PARTS), Ok(Some(1 << 32)));
        assert_eq!(*read(Headers(Some(&headers)), kind, &Allowed::default()).unwrap().unwrap(), written);
        // A part that an older version of ork has sent.
        headers.insert(TOTAL_PARTS.into(), AMQPValue::LongInt(3));
        let kept = headers.inner().iter().filter(|(name, _)| name.as_str() != TOTAL);
        let mut older = FieldTable::default();
        for (name, value) in kept {
            older.insert(name.clone(), value.clone());
        }
        assert_eq!(*read(Headers(Some(&older)), kind, &Allowed::default()).unwrap().unwrap(), written);
    }

    #[test]
    fn wrong_hooks_are_rejected_with_a_reason() {
        let part = |id: i64| {
            [(PART_ID, AMQPValue::LongLongInt(id)), (TOTAL_PARTS, AMQPValue::LongInt(3)), (PART_QUEUE, text("part.a"))]
        };
        assert!(hooks(&part(7), WorkKind::Job).unwrap().is_some(), "a label of others is only to be distinct");
        let many = AMQPValue::FieldArray(vec![AMQPValue::Void; 10_000].into());
        let mut deep = AMQPValue::Void;
        for _ in 0..100 {
            deep = AMQPValue::FieldArray(vec![deep].into());
        }
        let part_of_ork = WorkKind::Part { epoch: 1, index: 7 };
        let twice = [(ON_COMPLETE, text("[]")), (ONCOMPLETE, text("[]"))];
        for (found, message) in [
            (hooks(&[(ON_COMPLETE, many)], WorkKind::Job), "10000 hooks"),
            (hooks(&[(ON_COMPLETE, deep)], WorkKind::Job), "deeper than 64"),
            (hooks(&[(ON_COMPLETE, AMQPValue::LongInt(7))], WorkKind::Job), "must be a list"),
            (hooks(&twice, WorkKind::Job), "set twice"),
            (hooks(&part(-1), WorkKind::Job), "`part_id` is not a non-negative integer"),
            (hooks(&part(7), part_of_ork), "`part_id` is 7, expected less than"),
            (hooks(&part(1), part_of_ork), "`ork-index` is 7"),
            (hooks(&[(PART_ID, AMQPValue::LongInt(0))], WorkKind::Job), "has no `total_parts`"),
            (hooks(&[(PART_QUEUE, AMQPValue::LongInt(0))], WorkKind::Job), "`part_queue` is not a string"),
        ] {
            let found_text = found.unwrap_err();
            assert!(found_text.contains(message), "{found_text}");
        }
    }
}

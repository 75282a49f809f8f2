//! `schema::compare`: which messages, clients and workflows a change breaks, field by field, and what is not a break.

use ork_runtime::schema::{Became, Change, Effect, NotABundle, compare};
use serde_json::{Value, json};

/// A bundle of one task with these types.
fn bundle(input: &Value, output: &Value, defs: &Value) -> Value {
    json!({
        "x-ork-schemas": 1,
        "properties": { "t": { "properties": { "input": input, "output": output }, "x-ork-queue": "t" } },
        "$defs": defs,
    })
}

/// Returns the change of a task whose input changes from `old` to `new`.
fn input(old: &Value, new: &Value) -> Change {
    let any = json!({ "type": "null" });
    let changes = compare(&bundle(old, &any, &json!({})), &bundle(new, &any, &json!({}))).unwrap();
    let [change] = changes.try_into().unwrap();
    change
}

fn output(old: &Value, new: &Value) -> Change {
    let any = json!({ "type": "null" });
    let changes = compare(&bundle(&any, old, &json!({})), &bundle(&any, new, &json!({}))).unwrap();
    let [change] = changes.try_into().unwrap();
    change
}

fn object(fields: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": fields, "required": required, "additionalProperties": false })
}

/// The fields that changed, as `path: before > after`.
fn fields(change: &Change) -> Vec<String> {
    let word = |side: &Option<String>| side.clone().unwrap_or_default();
    change.fields.iter().map(|it| format!("{}: {} > {}", it.path, word(&it.before), word(&it.after))).collect()
}

/// `yes`, `no` or `?` for queued messages, clients and workflows.
fn verdicts(change: &Change) -> [&'static str; 3] {
    change.effects().map(|(_, effect)| match effect {
        Effect::Compatible => "yes",
        Effect::Unsure(_) => "?",
        Effect::Breaks(_) => "no",
    })
}

fn reasons(effect: &Effect) -> &[String] {
    match effect {
        Effect::Compatible => &[],
        Effect::Unsure(reasons) | Effect::Breaks(reasons) => reasons,
    }
}

#[test]
fn new_required_field_breaks_senders_without_it() {
    let old = object(&json!({ "path": { "type": "string" } }), &["path"]);
    let both = json!({ "path": { "type": "string" }, "width": { "type": "integer" } });
    let change = input(&old, &object(&both, &["path", "width"]));
    assert_eq!(change.became, Became::Changed);
    assert_eq!(fields(&change), ["input.width:  > integer"]);
    assert_eq!(verdicts(&change), ["no", "no", "no"]);
    assert_eq!(reasons(&change.queued), ["`input`: the field `width` is missing, expected integer"]);
    // An optional new field breaks nothing.
    assert_eq!(verdicts(&input(&old, &object(&both, &["path"]))), ["yes", "yes", "yes"]);
}

#[test]
fn removed_field_breaks_senders_that_still_send_it() {
    let old = object(&json!({ "a": { "type": "string" }, "b": { "type": ["string", "null"] } }), &["a"]);
    let change = input(&old, &object(&json!({ "a": { "type": "string" } }), &["a"]));
    assert_eq!(fields(&change), ["input.b: string | null > "]);
    assert_eq!(verdicts(&change), ["no", "no", "no"]);
    assert_eq!(reasons(&change.clients), ["`input`: the field `b` is not accepted"]);
}

#[test]
fn input_may_widen_and_output_may_narrow_but_not_vice_versa() {
    let (one, more) = (json!({ "type": "string" }), json!({ "type": ["string", "null"] }));
    assert_eq!(verdicts(&input(&one, &more)), ["yes", "yes", "yes"]);
    assert_eq!(verdicts(&input(&more, &one)), ["no", "no", "no"]);
    assert_eq!(verdicts(&output(&more, &one)), ["yes", "yes", "yes"]);
    let change = output(&one, &more);
    assert_eq!(verdicts(&change), ["yes", "no", "no"], "queued messages have no output yet");
    assert_eq!(reasons(&change.clients), ["`output`: null where string is expected"]);
    assert_eq!(fields(&change), ["output: string > string | null"]);
}

#[test]
fn undecidable_change_is_reported_as_unsure() {
    let change = input(&json!({ "type": "string" }), &json!({ "type": "string", "pattern": "^a" }));
    assert_eq!(verdicts(&change), ["?", "?", "yes"]);
    assert!(reasons(&change.queued)[0].contains("pattern"), "{change:?}");
    assert_eq!(fields(&change), [r#"input: {"type":"string"} > {"type":"string","pattern":"^a"}"#]);
}

#[test]
fn integer_format_may_become_wider() {
    let of = |format: &str| json!({ "type": "integer", "format": format });
    assert_eq!(verdicts(&input(&of("uint32"), &of("uint64"))), ["yes", "yes", "yes"]);
    assert_eq!(verdicts(&input(&of("uint8"), &of("int16"))), ["yes", "yes", "yes"]);
    assert_eq!(verdicts(&input(&of("uint16"), &of("int16")))[0], "?");
    assert_eq!(verdicts(&input(&of("int64"), &of("uint64")))[0], "?");
}

#[test]
fn nested_fields_are_named_and_recursive_types_terminate() {
    let tree = |value: &str| {
        let children = json!({ "type": "array", "items": { "$ref": "#/$defs/Tree" } });
        json!({ "Tree": object(&json!({ "value": { "type": value }, "children": children }), &["value", "children"]) })
    };
    let (reference, null) =
        (json!({ "type": "array", "items": { "$ref": "#/$defs/Tree" } }), json!({ "type": "null" }));
    let old = bundle(&reference, &null, &tree("string"));
    let new = bundle(&reference, &null, &tree("integer"));
    let changes = compare(&old, &new).unwrap();
    assert_eq!(fields(&changes[0]), ["input[].value: string > integer"]);
    assert_eq!(verdicts(&changes[0]), ["no", "no", "no"]);
}

#[test]
fn descriptions_and_type_names_are_not_compared() {
    let null = json!({ "type": "null" });
    let old = bundle(&json!({ "$ref": "#/$defs/A" }), &null, &json!({ "A": { "type": "string", "description": "x" } }));
    let new = bundle(&json!({ "$ref": "#/$defs/B" }), &null, &json!({ "B": { "title": "y", "type": "string" } }));
    assert_eq!(compare(&old, &new).unwrap(), []);
}

#[test]
fn tasks_can_be_added_removed_and_moved_to_another_queue() {
    let null = json!({ "type": "null" });
    let (full, mut empty) = (bundle(&null, &null, &json!({})), bundle(&null, &null, &json!({})));
    empty["properties"] = json!({});
    let gone = compare(&full, &empty).unwrap();
    assert_eq!((gone[0].became, verdicts(&gone[0])), (Became::Removed, ["no", "no", "no"]));
    let new = compare(&empty, &full).unwrap();
    assert_eq!((new[0].became, verdicts(&new[0])), (Became::Added, ["yes", "yes", "yes"]));

    let mut moved = full.clone();
    moved["properties"]["t"]["x-ork-queue"] = "other".into();
    let moved = compare(&full, &moved).unwrap();
    assert_eq!((fields(&moved[0]), verdicts(&moved[0])), (vec!["queue: t > other".to_owned()], ["no", "yes", "yes"]));
}

#[test]
fn part_type_is_compared_if_the_old_task_had_parts() {
    let null = json!({ "type": "null" });
    let with = |part: &Value| {
        let mut bundle = bundle(&null, &null, &json!({}));
        bundle["properties"]["t"]["properties"]["part"] = part.clone();
        bundle
    };
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "integer" }));
    let changes = compare(&with(&text), &with(&number)).unwrap();
    assert_eq!(verdicts(&changes[0]), ["no", "yes", "yes"], "clients send no parts");
    assert_eq!(fields(&changes[0]), ["part: string > integer"]);
    // It is split now, and was not before, so no part of it is queued.
    let changes = compare(&bundle(&null, &null, &json!({})), &with(&number)).unwrap();
    assert_eq!(verdicts(&changes[0]), ["yes", "yes", "yes"]);
}

#[test]
fn unsupported_bundle_is_refused() {
    let null = json!({ "type": "null" });
    let mut other = bundle(&null, &null, &json!({}));
    other["x-ork-schemas"] = 2.into();
    assert_eq!(compare(&json!({ "openapi": "3.0.0" }), &other), Err(NotABundle::Other));
    let error = compare(&other, &other).unwrap_err();
    assert_eq!(error, NotABundle::Version { found: 2.into() });
    assert_eq!(error.to_string(), "unsupported format version 2: this version of ork supports only 1");
}

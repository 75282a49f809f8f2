//! Compares assignability with a JSON Schema validator: `Yes` holds for every sample value, and for each `No` a
//! sample value exists that shows it.

use jsonschema::Validator;
use ork_workflow::{Type, Verdict, is_subtype};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

/// Definitions that all schemas can refer to. `Tree` and `List` are recursive.
fn defs() -> Value {
    json!({
        "Name": { "type": "string", "minLength": 1 },
        "Tree": {
            "type": "object",
            "properties": { "a": { "type": "integer" }, "b": { "type": "array", "items": { "$ref": "#/$defs/Tree" } } },
            "required": ["a"]
        },
        "List": {
            "type": "object",
            "properties": { "a": { "type": "integer" }, "b": { "anyOf": [{ "$ref": "#/$defs/List" }, { "type": "null" }] } },
            "required": ["a", "b"],
            "additionalProperties": false
        }
    })
}

fn document(schema: &Value) -> Value {
    json!({ "$defs": defs(), "allOf": [schema] })
}

fn verdict_of(from: &Value, to: &Value) -> Verdict {
    let root = json!({ "$defs": defs() });
    is_subtype(Type { schema: from, root: &root }, Type { schema: to, root: &root })
}

/// Schemas without subschemas that are always decided.
fn plain_leaf() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "type": "null" }),
        json!({ "type": "boolean" }),
        json!({ "type": "integer" }),
        json!({ "type": "number" }),
        json!({ "type": "string" }),
        json!({ "type": ["string", "null"] }),
        json!({ "const": "x" }),
        json!({ "enum": ["x", "y", 1] }),
    ])
}

/// Schemas without subschemas, including some with rules that are not always decided.
fn leaf() -> impl Strategy<Value = Value> {
    let rules = select(vec![
        json!(true),
        json!(false),
        json!({}),
        json!({ "type": "integer", "minimum": 0 }),
        json!({ "type": "integer", "minimum": 1, "maximum": 2 }),
        json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 2 }),
        json!({ "type": "number", "multipleOf": 0.5 }),
        json!({ "minimum": 1 }),
        json!({ "type": "string", "maxLength": 1 }),
        json!({ "type": "string", "pattern": "^x" }),
        json!({ "enum": [true, null, 1.0] }),
        json!({ "type": "string", "enum": ["x", "xy"] }),
        json!({ "not": { "type": "string" } }),
        json!({ "$ref": "#/$defs/Name" }),
        json!({ "$ref": "#/$defs/Tree" }),
        json!({ "$ref": "#/$defs/List" }),
    ]);
    prop_oneof![plain_leaf(), rules]
}

/// Schemas of objects with some of three fields.
fn object(field: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    let names = vec!["a", "b", "c"];
    let others = prop_oneof![Just(None), Just(Some(json!(false))), field.clone().prop_map(Some)];
    (vec(field, 3), subsequence(names.clone(), 0..=3), subsequence(names, 0..=2), others).prop_map(
        |(schemas, present, required, others)| {
            let fields: Map<String, Value> =
                present.iter().zip(schemas).map(|(name, schema)| ((*name).to_owned(), schema)).collect();
            let mut schema = json!({ "type": "object", "properties": fields, "required": required });
            if let Some(others) = others {
                schema["additionalProperties"] = others;
            }
            schema
        },
    )
}

fn list(item: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    (vec(item.clone(), 0..=2), item, 0..=2_u8, 0..=3_u8).prop_map(|(first, rest, least, most)| {
        let mut schema = json!({ "type": "array", "items": rest });
        if !first.is_empty() {
            schema["prefixItems"] = first.into();
        }
        if least > 0 {
            schema["minItems"] = least.into();
        }
        if most > 1 {
            schema["maxItems"] = most.into();
        }
        schema
    })
}

/// Schemas of every kind.
fn schema() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 12, 3, |inner| {
        let both = |key: &'static str| vec(inner.clone(), 1..=3).prop_map(move |all| json!({ key: all }));
        let beside = (object(inner.clone()), vec(inner.clone(), 1..=2)).prop_map(|(mut object, all)| {
            object["anyOf"] = all.into();
            object
        });
        prop_oneof![object(inner.clone()), list(inner.clone()), both("anyOf"), both("oneOf"), both("allOf"), beside]
    })
}

/// The documented class of schemas in which `No` is always exact: types, values, unions of different types, lists,
/// and objects of those, without bounds and without intersections.
fn plain() -> impl Strategy<Value = Value> {
    plain_leaf().prop_recursive(3, 12, 3, |inner| {
        let items = inner.clone().prop_map(|item| json!({ "type": "array", "items": item }));
        let nullable = inner.clone().prop_map(|it| json!({ "anyOf": [it, { "type": "null" }] }));
        // Every required field must be possible.
        let object = object(inner).prop_map(|mut object| {
            let fields = object["properties"].as_object().unwrap().clone();
            object["required"].as_array_mut().unwrap().retain(|name| fields.contains_key(name.as_str().unwrap()));
            object
        });
        prop_oneof![object, items, nullable]
    })
}

/// Returns many values that a schema may allow, among them those at the edges of its rules.
fn samples(schema: &Value, depth: u32) -> Vec<Value> {
    let scalars = json!([null, true, false, 0, 1, 2, 3, -1, 0.5, 1.0, 1.5, "", "x", "y", "xy", "zz", [], {}]);
    let mut found = scalars.as_array().unwrap().clone();
    let Some(keys) = schema.as_object().filter(|_| depth < 4) else { return found };
    if let Some(name) = keys.get("$ref").and_then(Value::as_str) {
        let target = &defs()[name.rsplit('/').next().unwrap()];
        return samples(target, depth + 1);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        for branch in keys.get(key).and_then(Value::as_array).into_iter().flatten() {
            found.extend(samples(branch, depth + 1));
        }
    }
    let validator = |schema: &Value| validator(&document(schema));
    let some = |schema: &Value, count: usize| -> Vec<Value> {
        let valid = validator(schema);
        let mut all: Vec<Value> = samples(schema, depth + 1).into_iter().filter(|it| valid.is_valid(it)).collect();
        all.sort_by_key(ToString::to_string);
        all.dedup();
        // Take samples from the whole range.
        let step = (all.len() / count).max(1);
        all.into_iter().step_by(step).collect()
    };
    if keys.contains_key("items") || keys.contains_key("prefixItems") {
        let rest = some(keys.get("items").unwrap_or(&Value::Bool(true)), 6);
        let first = keys.get("prefixItems").and_then(Value::as_array).cloned().unwrap_or_default();
        let first: Vec<Vec<Value>> = first.iter().map(|it| some(it, 4)).collect();
        let mut lists = vec![Vec::new()];
        for place in 0..3 {
            let choices = first.get(place).unwrap_or(&rest);
            let longer: Vec<Vec<Value>> = lists
                .iter()
                .filter(|it: &&Vec<Value>| it.len() == place)
                .flat_map(|it| choices.iter().map(|next| it.iter().cloned().chain([next.clone()]).collect()))
                .take(60)
                .collect();
            lists.extend(longer);
        }
        found.extend(lists.into_iter().map(Value::Array));
    }
    if let Some(fields) = keys.get("properties").and_then(Value::as_object) {
        let others = keys.get("additionalProperties").cloned().unwrap_or(Value::Bool(true));
        let mut objects = vec![Map::new()];
        for name in ["a", "b", "c", "d"] {
            let schema = fields.get(name).unwrap_or(&others);
            let values = if name == "d" { some(schema, 2) } else { some(schema, 5) };
            let mut next = objects.clone();
            for object in &objects {
                for value in &values {
                    let mut larger = object.clone();
                    larger.insert(name.to_owned(), value.clone());
                    next.push(larger);
                }
            }
            objects = next;
            if objects.len() > 400 {
                let step = objects.len() / 400 + 1;
                objects = objects.into_iter().step_by(step).collect();
            }
        }
        found.extend(objects.into_iter().map(Value::Object));
    }
    found
}

fn validator(document: &Value) -> Validator {
    jsonschema::options().build(document).unwrap()
}

fn valid_samples(schema: &Value) -> Vec<Value> {
    let valid = validator(&document(schema));
    samples(schema, 0).into_iter().filter(|it| valid.is_valid(it)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn yes_means_that_every_sample_fits(from in schema(), to in schema()) {
        if verdict_of(&from, &to) == Verdict::Yes {
            let target = validator(&document(&to));
            for value in valid_samples(&from) {
                prop_assert!(target.is_valid(&value), "{value} is of {from}, not of {to}");
            }
        }
    }

    #[test]
    fn no_means_that_a_sample_does_not_fit(from in plain(), to in plain()) {
        if let Verdict::No(mismatches) = verdict_of(&from, &to) {
            prop_assert!(!mismatches.is_empty());
            let target = validator(&document(&to));
            let shows_it = valid_samples(&from).iter().any(|it| !target.is_valid(it));
            prop_assert!(shows_it, "{from} into {to}: {mismatches:?}");
        }
    }

    #[test]
    fn type_is_never_unassignable_to_itself(schema in schema()) {
        let verdict = verdict_of(&schema, &schema);
        prop_assert!(!matches!(verdict, Verdict::No(_)), "{schema}: {verdict:?}");
    }

    #[test]
    fn constants_get_the_verdict_of_a_validator(from in schema(), to in schema()) {
        let target = validator(&document(&to));
        for value in samples(&from, 2).into_iter().take(60) {
            match verdict_of(&json!({ "const": value }), &to) {
                Verdict::Yes => prop_assert!(target.is_valid(&value), "{value} is not of {to}"),
                Verdict::No(mismatches) => prop_assert!(!target.is_valid(&value), "{value} is of {to}: {mismatches:?}"),
                Verdict::Unknown(_) => {}
            }
        }
    }
}

/// Schemas that grow when they are expanded.
#[test]
fn comparison_gives_up_on_schemas_that_explode() {
    let twice = json!({ "$defs": { "A": { "anyOf": [{ "$ref": "#/$defs/A" }, { "$ref": "#/$defs/A" }] } }, "$ref": "#/$defs/A" });
    let all = json!({ "$defs": { "A": { "allOf": [{ "$ref": "#/$defs/A" }, { "$ref": "#/$defs/A" }] } }, "$ref": "#/$defs/A" });
    let field = json!({ "type": "object", "properties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } }, "required": ["a", "b"] });
    let many: Vec<Value> =
        (0..30).map(|at| json!({ "type": "object", "properties": { format!("p{at}"): { "$ref": "#" } } })).collect();
    let many = json!({ "anyOf": many });
    let text = json!({ "type": "string" });
    for from in [&twice, &all, &field, &many, &text] {
        for to in [&twice, &all, &field, &many, &text] {
            let verdict = is_subtype(Type { schema: from, root: from }, Type { schema: to, root: to });
            assert_ne!(verdict, Verdict::No(Vec::new()));
        }
    }
}

/// Pairs of types with the expected verdict.
#[test]
fn known_pairs_have_the_expected_verdict() {
    let record = json!({ "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "string" } }, "required": ["a", "b"] });
    let less = json!({ "type": "object", "properties": { "a": { "type": "number" } }, "required": ["a"] });
    let strict = json!({ "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"], "additionalProperties": false });
    let tree = json!({ "$ref": "#/$defs/Tree" });
    let list = json!({ "$ref": "#/$defs/List" });
    let text = json!({ "type": "string" });
    for (from, to) in [
        (json!({ "type": "integer" }), json!({ "type": "number" })),
        (record.clone(), less.clone()),
        (list.clone(), list.clone()),
        (tree.clone(), tree),
        (json!({ "type": "array", "items": record }), json!({ "type": "array", "items": less })),
        (json!({ "const": "x" }), json!({ "enum": ["x", "y"] })),
        (json!({ "type": "boolean" }), json!({ "anyOf": [{ "const": true }, { "const": false }] })),
        (json!({ "type": "integer", "minimum": 1, "maximum": 3 }), json!({ "type": "number", "exclusiveMinimum": 0 })),
        (json!({ "allOf": [strict] }), json!({ "type": "object", "additionalProperties": { "type": "integer" } })),
    ] {
        assert_eq!(verdict_of(&from, &to), Verdict::Yes, "{from} into {to}");
    }
    for (from, to, path, why) in [
        (json!({ "type": "number" }), json!({ "type": "integer" }), "", "number where integer is expected"),
        (record.clone(), strict.clone(), "", "the field `b` is not accepted"),
        (
            json!({ "type": "array", "items": text }),
            json!({ "type": "array", "items": { "type": "integer" } }),
            "[]",
            "string where integer is expected",
        ),
        (json!({ "type": ["string", "null"] }), text.clone(), "", "null where string is expected"),
        (text.clone(), json!({ "enum": ["x"] }), "", "any string where \"x\" is expected"),
        (
            json!({ "type": "integer", "maximum": 0 }),
            json!({ "minimum": 1 }),
            "",
            "the number is at most 0 where at least 1 is expected",
        ),
        (
            list,
            json!({ "type": "object", "properties": { "b": { "type": "null" } } }),
            ".b",
            "{a: integer, b: {a: integer, b: List | null} | null} where null is expected",
        ),
    ] {
        match verdict_of(&from, &to) {
            Verdict::No(mismatches) => {
                assert_eq!((mismatches[0].path.as_str(), mismatches[0].text.as_str()), (path, why), "{from} into {to}");
            }
            other => panic!("{from} into {to}: {other:?}"),
        }
    }
    for (from, to) in [
        (json!({ "type": "integer" }), json!({ "type": "integer", "minimum": 0 })),
        (text.clone(), json!({ "type": "string", "format": "uuid" })),
        (text, json!({ "type": "string", "pattern": "x" })),
        (json!(true), json!({ "type": "string" })),
        (record, json!({ "not": { "type": "null" } })),
        (json!({ "type": "object", "additionalProperties": true }), strict),
    ] {
        assert!(matches!(verdict_of(&from, &to), Verdict::Unknown(_)), "{from} into {to}");
    }
}

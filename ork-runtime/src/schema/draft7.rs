//! Bundles as JSON Schema draft 7, which more tools support.

use schemars::Schema;
use schemars::transform::{RemoveRefSiblings, ReplacePrefixItems, ReplaceUnevaluatedProperties, Transform as _};
use serde_json::{Map, Value};

use super::walk;

/// Converts a bundle to JSON Schema draft 7.
///
/// ```
/// let document = ork::schema::draft7(&ork::schema::bundle(&[]));
/// assert_eq!(document["$schema"], "http://json-schema.org/draft-07/schema#");
/// assert!(document["definitions"]["OrkFailure"].is_object());
/// ```
pub fn draft7(bundle: &Value) -> Value {
    let mut document = bundle.clone();
    let path = |name: &str| walk::reference(name).replace("#/$defs/", "#/definitions/");
    let defs = document.as_object_mut().and_then(|keys| keys.shift_remove("$defs"));
    translate(&mut document, &path);
    let translated = defs.as_ref().and_then(Value::as_object).into_iter().flatten().map(|(name, schema)| {
        let mut schema = schema.clone();
        translate(&mut schema, &path);
        (name.clone(), schema)
    });
    if let Value::Object(keys) = &mut document {
        keys.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
        keys.insert("definitions".into(), Value::Object(translated.collect::<Map<_, _>>()));
    }
    document
}

/// Converts a schema to draft 7. `path` returns the reference for the name of a type.
pub(super) fn translate(schema: &mut Value, path: &dyn Fn(&str) -> String) {
    walk::each(schema, &mut |keys| {
        if let Some(name) = walk::target(keys) {
            keys.insert("$ref".into(), path(&name).into());
        }
    });
    if let Ok(mut older) = Schema::try_from(schema.clone()) {
        RemoveRefSiblings::default().transform(&mut older);
        ReplacePrefixItems::default().transform(&mut older);
        ReplaceUnevaluatedProperties::default().transform(&mut older);
        *schema = older.to_value();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tuples_and_reference_siblings_are_converted() {
        let bundle = json!({ "$defs": { "A": {
            "prefixItems": [{ "$ref": "#/$defs/B", "description": "x" }], "items": false,
        } } });
        let expected = json!({ "items": [{ "allOf": [{ "$ref": "#/definitions/B" }], "description": "x" }], "additionalItems": false });
        assert_eq!(draft7(&bundle)["definitions"]["A"], expected);
    }
}

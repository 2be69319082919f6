//! The part of JSON Schema that the project's own schemas use, enforced: types, required and allowed members, least and greatest
//! numbers, one of some values.

use serde_json::Value;

/// What is wrong with a value, if anything.
pub fn wrong(schema: &Value, value: &Value) -> Option<String> {
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the schema has a type that is not known here: {other}"),
    };
    if let Some(kind) = schema["type"].as_str().filter(|kind| !is(kind)) {
        return Some(format!("{value} is no {kind}"));
    }
    if let Some(values) = schema["enum"].as_array().filter(|values| !values.contains(value)) {
        return Some(format!("{value} is none of {values:?}"));
    }
    let number = value.as_f64();
    let beyond = |bound: &str, is: fn(f64, f64) -> bool| {
        number.zip(schema[bound].as_f64()).is_some_and(|(number, bound)| is(number, bound))
    };
    if beyond("minimum", |number, least| number < least) || beyond("maximum", |number, most| number > most) {
        return Some(format!("{value} is out of range"));
    }
    let members = value.as_object()?;
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = { required }.find(|name| !members.contains_key(*name)) {
        return Some(format!("{missing} is missing in {value}"));
    }
    members.iter().find_map(|(name, member)| match schema["properties"].get(name) {
        Some(schema) => wrong(schema, member).map(|what| format!("{name}: {what}")),
        None if schema["additionalProperties"] == false => Some(format!("{name} has no place in {value}")),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_fit_is_found() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 9}, "b": {"enum": ["x", "y"]}}
        });
        for right in [json!({"a": 1}), json!({"a": 9, "b": "y"})] {
            assert_eq!(wrong(&schema, &right), None);
        }
        for not in [
            json!(1),
            json!({}),
            json!({"a": 0}),
            json!({"a": 10}),
            json!({"a": 1.5}),
            json!({"a": 1, "b": "z"}),
            json!({"a": 1, "c": 1}),
        ] {
            assert!(wrong(&schema, &not).is_some(), "{not}");
        }
    }
}

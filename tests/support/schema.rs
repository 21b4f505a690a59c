//! Holds JSON against the schemas of the API's own description.
#![allow(dead_code, reason = "each test crate uses its part")]

use serde_json::Value;

/// What is wrong with a value; nothing if it is as described.
pub fn check(description: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/components/schemas/").unwrap();
        let schema = &description["components"]["schemas"][name];
        assert!(schema.is_object(), "{place}: no schema {name}");
        return check(description, schema, value, place);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = |choice: &Value| check(description, choice, value, place);
        let tried: Vec<Vec<String>> = choices.iter().map(fits).collect();
        return match tried.iter().any(Vec::is_empty) {
            true => Vec::new(),
            false => tried.into_iter().next().unwrap(),
        };
    }
    let is_type = match schema["type"].as_str().unwrap_or_else(|| panic!("{place}: {schema}")) {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{place}: type {other}"),
    };
    if !is_type {
        return vec![format!("{place}: {value} is no {}", schema["type"])];
    }
    let items = value.as_array().into_iter().flatten().enumerate();
    let mut wrong: Vec<String> = items
        .flat_map(|(at, item)| {
            check(description, &schema["items"], item, &format!("{place}[{at}]"))
        })
        .collect();
    let Some(properties) = schema["properties"].as_object() else { return wrong };
    for (key, item) in value.as_object().unwrap() {
        match properties.get(key) {
            Some(schema) => {
                wrong.extend(check(description, schema, item, &format!("{place}.{key}")));
            }
            None if schema["additionalProperties"] == Value::Bool(true) => {}
            None => wrong.push(format!("{place}.{key} is not described")),
        }
    }
    for key in schema["required"].as_array().unwrap() {
        if value.get(key.as_str().unwrap()).is_none() {
            wrong.push(format!("{place}.{key} is missing"));
        }
    }
    wrong
}

/// The schema of an operation's answer.
pub fn answer<'d>(description: &'d Value, method: &str, path: &str, is_ok: bool) -> &'d Value {
    let operation = &description["paths"][path][method];
    assert!(operation.is_object(), "{method} {path} is not described");
    let status = if is_ok { "200" } else { "default" };
    &operation["responses"][status]["content"]["application/json"]["schema"]
}

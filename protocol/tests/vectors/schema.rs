//! The files follow `schema.json`. The validator knows just the words of JSON Schema that the schema uses, and fails on
//! any other, so that nothing in it goes unchecked.

use crate::case::folder;
use serde_json::Value;

struct Schema {
    root: Value,
}

impl Schema {
    /// What is wrong with `value`, with the path to it; `None`: nothing.
    fn fault(&self, schema: &Value, value: &Value, path: &str) -> Option<String> {
        let Some(words) = schema.as_object() else { panic!("{path}: a schema is an object, not {schema}") };
        words.iter().find_map(|(word, rule)| match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => None,
            "$ref" => self.fault(self.definition(rule), value, path),
            "type" => (!has_type(value, rule.as_str().unwrap())).then(|| format!("{path}: not of type {rule}")),
            "const" => (value != rule).then(|| format!("{path}: not {rule}")),
            "enum" => (!rule.as_array().unwrap().contains(value)).then(|| format!("{path}: none of {rule}")),
            "minimum" => (value.as_f64() < rule.as_f64()).then(|| format!("{path}: below {rule}")),
            "minItems" => (value.as_array()?.len() < rule.as_u64().unwrap() as usize).then(|| format!("{path}: fewer than {rule}")),
            "maxItems" => (value.as_array()?.len() > rule.as_u64().unwrap() as usize).then(|| format!("{path}: more than {rule}")),
            "required" => rule.as_array().unwrap().iter().find_map(|name| {
                let missing = value.as_object()?.get(name.as_str().unwrap()).is_none();
                missing.then(|| format!("{path}: {name} is missing"))
            }),
            "properties" => {
                rule.as_object().unwrap().iter().find_map(|(name, schema)| self.fault(schema, value.get(name)?, &format!("{path}/{name}")))
            }
            "additionalProperties" => value.as_object()?.iter().find_map(|(name, value)| {
                let known = schema["properties"].get(name).is_some();
                match rule {
                    _ if known => None,
                    Value::Bool(false) => Some(format!("{path}: {name} is not known")),
                    schema => self.fault(schema, value, &format!("{path}/{name}")),
                }
            }),
            "items" => value.as_array()?.iter().enumerate().find_map(|(at, item)| self.fault(rule, item, &format!("{path}/{at}"))),
            "anyOf" | "oneOf" => {
                let faults: Vec<_> = rule.as_array().unwrap().iter().map(|schema| self.fault(schema, value, path)).collect();
                let fitting = faults.iter().filter(|fault| fault.is_none()).count();
                let fits = if word == "oneOf" { fitting == 1 } else { fitting > 0 };
                (!fits)
                    .then(|| format!("{path}: {fitting} alternatives fit: {}", faults.into_iter().flatten().collect::<Vec<_>>().join("; ")))
            }
            other => panic!("the validator does not know `{other}`"),
        })
    }

    fn definition(&self, reference: &Value) -> &Value {
        let pointer = reference.as_str().unwrap().strip_prefix('#').expect("references stay inside the schema");
        self.root.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the validator does not know the type `{other}`"),
    }
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

#[test]
fn every_file_follows_the_schema() {
    let schema = Schema { root: read("schema.json") };
    for file in crate::case::files() {
        let name = format!("{}.json", file.name);
        assert_eq!(schema.fault(&schema.root, &read(&name), ""), None, "{name}");
    }
}

#[test]
fn the_schema_refuses_what_no_case_may_be() {
    let schema = Schema { root: read("schema.json") };
    let refused = |change: fn(&mut Value)| {
        let mut file = read("puback.json");
        change(&mut file);
        schema.fault(&schema.root, &file, "").is_some()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|file| file["cases"][0]["dialect"] = "5".into()));
    assert!(refused(|file| file["cases"][0]["sender"] = "broker".into()));
    assert!(refused(|file| file["cases"][0]["must_fail"] = "Flags".into()));
    assert!(refused(|file| file["cases"][0]["unknown"] = 1.into()));
    assert!(refused(|file| file["cases"][0]["packet"]["id"] = 0.into()));
    assert!(refused(|file| file["cases"][0]["packet"]["type"] = "AUTH".into()));
    assert!(refused(|file| drop(file["cases"][0].as_object_mut().unwrap().remove("hex"))));
}

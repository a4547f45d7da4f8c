//! Dotted paths into a payload, as `Illuminate\Support\Arr` reads them.
//!
//! A PHP array is list and map at once; here a list is looked at as a map from `"0"`, `"1"`, … to its elements.

use serde_json::{Map, Value};

/// `Arr::get`: a key of the top level that is spelled like this, or else the path from key to key.
pub(super) fn get<'a>(data: &'a Value, path: &str) -> Option<&'a Value> {
    child(data, path).or_else(|| path.split('.').try_fold(data, child))
}

/// `Arr::only`: these keys of the top level, in the payload's order.
pub(super) fn only(data: &Value, keys: &[&str]) -> Map<String, Value> {
    let mut kept = top_level(data);
    kept.retain(|key, _| keys.contains(&key.as_str()));
    kept
}

/// `Arr::except`: everything but these keys and paths.
pub(super) fn except(data: &Value, paths: &[&str]) -> Map<String, Value> {
    let mut rest = Value::Object(top_level(data));
    for path in paths {
        if !remove(&mut rest, path)
            && let Some((parents, last)) = path.rsplit_once('.')
            && let Some(parent) = parents.split('.').try_fold(&mut rest, child_mut)
        {
            remove(parent, last);
        }
    }
    match rest {
        Value::Object(rest) => rest,
        _ => Map::new(),
    }
}

fn child<'a>(parent: &'a Value, key: &str) -> Option<&'a Value> {
    match parent {
        Value::Object(object) => object.get(key),
        Value::Array(list) => list.get(index(key)?),
        _ => None,
    }
}

fn child_mut<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    match parent {
        Value::Object(object) => object.get_mut(key),
        Value::Array(list) => list.get_mut(index(key)?),
        _ => None,
    }
}

/// Removes a key and tells whether it was there. A list with a hole becomes an object, as in PHP's JSON.
fn remove(parent: &mut Value, key: &str) -> bool {
    match parent {
        Value::Object(object) => object.shift_remove(key).is_some(),
        Value::Array(list) => match index(key) {
            Some(last) if last + 1 == list.len() => list.pop().is_some(),
            Some(hole) if hole < list.len() => {
                let mut object = top_level(parent);
                object.shift_remove(key);
                *parent = Value::Object(object);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

fn top_level(data: &Value) -> Map<String, Value> {
    match data {
        Value::Object(object) => object.clone(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value.clone()))
            .collect(),
        _ => Map::new(),
    }
}

/// A key that PHP takes for an index: `0`, `17`, and neither `017` nor `+17`.
fn index(key: &str) -> Option<usize> {
    let canonical = key == "0" || (!key.starts_with(['0', '+']));
    key.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order() -> Value {
        json!({"id": 5, "a.b": "literal", "a": {"b": "nested", "c": null}, "items": [{"sku": "x"}, {"sku": "y"}]})
    }

    #[test]
    fn a_key_that_is_spelled_like_the_path_comes_first() {
        assert_eq!(get(&order(), "a.b"), Some(&json!("literal")));
        assert_eq!(get(&order(), "a.c"), Some(&json!(null)));
        assert_eq!(get(&order(), "items.1.sku"), Some(&json!("y")));
        assert_eq!(get(&json!(["x"]), "0"), Some(&json!("x")));
        for absent in [
            "",
            "b",
            "a.b.c",
            "items.01.sku",
            "items.2",
            "items.+1",
            "items.-1",
            "id.0",
            "a..b",
        ] {
            assert_eq!(get(&order(), absent), None, "{absent}");
        }
    }

    #[test]
    fn only_looks_at_the_top_level_and_keeps_the_order() {
        let kept = only(&order(), &["a.b", "a", "id", "items.0"]);
        assert_eq!(
            serde_json::to_value(kept).ok(),
            Some(json!({"id": 5, "a.b": "literal", "a": {"b": "nested", "c": null}}))
        );
        assert_eq!(Value::Object(only(&json!(["x", "y"]), &["1"])), json!({"1": "y"}));
        assert_eq!(only(&json!(7), &["0"]), Map::new());
    }

    #[test]
    fn except_follows_paths_and_leaves_the_order() {
        let rest = Value::Object(except(&order(), &["a.c", "items.0", "nothing.here", "id"]));
        assert_eq!(
            rest.to_string(),
            r#"{"a.b":"literal","a":{"b":"nested"},"items":{"1":{"sku":"y"}}}"#
        );
        let rest = Value::Object(except(&order(), &["a.b", "items.1", "a"]));
        assert_eq!(rest.to_string(), r#"{"id":5,"items":[{"sku":"x"}]}"#);
    }

    #[test]
    fn a_path_removed_before_does_not_change_where_the_next_one_begins() {
        // Arr::forget goes on in the nested array here and removes `a.id`.
        let data = json!({"id": 1, "a": {"id": 2, "x": 3}});
        assert_eq!(Value::Object(except(&data, &["a.x", "id"])), json!({"a": {"id": 2}}));
    }
}

//! Dotted paths into a payload, as `Illuminate\Support\Arr` reads them.
//!
//! A PHP array is list and map at once; here a list is looked at as a map from `"0"`, `"1"`, … to its elements.

use serde_json::Value;

use super::{Members, Node, OrderedJson};

/// `Arr::get`: a key of the top level that is spelled like this, or else the path from key to key.
pub(super) fn get<'a>(data: &'a Value, path: &str) -> Option<&'a Value> {
    child(data, path).or_else(|| path.split('.').try_fold(data, child))
}

/// `Arr::only`: these keys of the top level, in the payload's order.
pub(super) fn only(mut data: Members, keys: &[&str]) -> Members {
    data.retain(|key, _| keys.contains(&key.as_str()));
    data
}

/// `Arr::except`: everything but these keys and paths.
pub(super) fn except(mut data: Members, paths: &[&str]) -> Members {
    for path in paths {
        if data.shift_remove(*path).is_none()
            && let Some((parents, last)) = path.rsplit_once('.')
        {
            let mut parents = parents.split('.');
            let first = parents.next().and_then(|first| data.get_mut(first));
            if let Some(parent) = first.and_then(|first| parents.try_fold(first, child_mut)) {
                remove(parent, last);
            }
        }
    }
    data
}

fn child<'a>(parent: &'a Value, key: &str) -> Option<&'a Value> {
    match parent {
        Value::Object(object) => object.get(key),
        Value::Array(list) => list.get(index(key)?),
        _ => None,
    }
}

fn child_mut<'a>(parent: &'a mut OrderedJson, key: &str) -> Option<&'a mut OrderedJson> {
    match &mut parent.0 {
        Node::Object(members) => members.get_mut(key),
        Node::List(list) => list.get_mut(index(key)?),
        Node::Plain(_) => None,
    }
}

/// Removes a key. A list with a hole becomes an object, as in PHP's JSON.
fn remove(parent: &mut OrderedJson, key: &str) {
    match &mut parent.0 {
        Node::Object(members) => {
            members.shift_remove(key);
        }
        Node::List(list) => match index(key) {
            Some(last) if last + 1 == list.len() => {
                list.pop();
            }
            Some(hole) if hole < list.len() => {
                let list = std::mem::take(list).into_iter().enumerate();
                let rest = list.filter(|(index, _)| *index != hole);
                *parent = rest.map(|(index, value)| (index.to_string(), value)).collect();
            }
            _ => {}
        },
        Node::Plain(_) => {}
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

    const ORDER: &str = r#"{"id":5,"a.b":"literal","a":{"b":"nested","c":null},"items":[{"sku":"x"},{"sku":"y"}]}"#;

    fn members(text: &str) -> Members {
        let json: OrderedJson = serde_json::from_str(text).expect("it is JSON");
        json.into_members().unwrap_or_default()
    }

    fn only_of(text: &str, keys: &[&str]) -> String {
        OrderedJson::object(only(members(text), keys)).to_string()
    }

    fn except_of(text: &str, paths: &[&str]) -> String {
        OrderedJson::object(except(members(text), paths)).to_string()
    }

    #[test]
    fn only_looks_at_the_top_level_and_keeps_the_order() {
        assert_eq!(
            only_of(ORDER, &["a.b", "a", "id", "items.0"]),
            r#"{"id":5,"a.b":"literal","a":{"b":"nested","c":null}}"#
        );
        assert_eq!(only_of(r#"["x","y"]"#, &["1"]), r#"{"1":"y"}"#);
        assert_eq!(
            only_of(r#"{"b":{"d":1,"c":2},"x":3,"a":4}"#, &["a", "b"]),
            r#"{"b":{"d":1,"c":2},"a":4}"#
        );
        assert_eq!(only_of("7", &["0"]), "{}");
    }

    #[test]
    fn except_follows_paths_and_leaves_the_order() {
        assert_eq!(
            except_of(ORDER, &["a.c", "items.0", "nothing.here", "id"]),
            r#"{"a.b":"literal","a":{"b":"nested"},"items":{"1":{"sku":"y"}}}"#
        );
        assert_eq!(
            except_of(ORDER, &["a.b", "items.1", "a"]),
            r#"{"id":5,"items":[{"sku":"x"}]}"#
        );
    }

    #[test]
    fn a_list_that_lost_an_element_keeps_the_order_of_the_others() {
        let list = format!(
            "{{\"list\":[{}]}}",
            (0..12).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
        );
        assert_eq!(
            except_of(&list, &["list.1"]),
            r#"{"list":{"0":0,"2":2,"3":3,"4":4,"5":5,"6":6,"7":7,"8":8,"9":9,"10":10,"11":11}}"#
        );
        assert_eq!(except_of(r#"[3,2,1]"#, &["1"]), r#"{"0":3,"2":1}"#);
    }

    #[test]
    fn a_path_removed_before_does_not_change_where_the_next_one_begins() {
        // Arr::forget goes on in the nested array here and removes `a.id`.
        let data = r#"{"id":1,"a":{"id":2,"x":3}}"#;
        assert_eq!(except_of(data, &["a.x", "id"]), r#"{"a":{"id":2}}"#);
    }
}

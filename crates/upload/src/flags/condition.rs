//! GrowthBook's conditions on attributes, a subset of MongoDB's query language.
//!
//! `$and`, `$or`, `$nor`, `$not`; values as they are; `$eq`, `$ne`, `$lt`, `$lte`, `$gt`, `$gte`, `$in`, `$nin`, `$exists`,
//! `$not`. A comparison of another name never holds, as in the SDKs, so that a rule nobody here understands applies to
//! nobody.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// How deep conditions may be nested; a deeper one does not hold.
const DEPTH_MAX: usize = 16;

/// Whether all of a condition's members hold; an empty one does.
pub(super) fn holds(condition: &Map<String, Value>, attributes: &Map<String, Value>) -> bool {
    holds_at(condition, attributes, DEPTH_MAX)
}

fn holds_at(condition: &Map<String, Value>, attributes: &Map<String, Value>, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let each = |conditions: &Value| -> Option<Vec<bool>> {
        let conditions = conditions.as_array()?.iter();
        conditions.map(|one| Some(holds_at(one.as_object()?, attributes, depth))).collect()
    };
    condition.iter().all(|(key, expected)| match key.as_str() {
        "$or" => each(expected).is_some_and(|each| each.is_empty() || each.contains(&true)),
        "$nor" => each(expected).is_some_and(|each| each.is_empty() || !each.contains(&true)),
        "$and" => each(expected).is_some_and(|each| !each.contains(&false)),
        "$not" => expected.as_object().is_some_and(|one| !holds_at(one, attributes, depth)),
        path => value_holds(expected, attribute(attributes, path), depth),
    })
}

/// `a.b` is the member `b` of attribute `a`.
fn attribute<'a>(attributes: &'a Map<String, Value>, path: &str) -> &'a Value {
    let mut names = path.split('.');
    let first = names.next().and_then(|name| attributes.get(name));
    names.fold(first, |value, name| value?.get(name)).unwrap_or(&Value::Null)
}

fn value_holds(expected: &Value, actual: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match expected.as_object() {
        Some(operators) if operators.keys().any(|key| key.starts_with('$')) => {
            operators.iter().all(|(operator, operand)| operator_holds(operator, operand, actual, depth))
        }
        _ => equal(expected, actual),
    }
}

fn operator_holds(operator: &str, operand: &Value, actual: &Value, depth: usize) -> bool {
    let compares = |wanted: &[Ordering]| compare(actual, operand).is_some_and(|order| wanted.contains(&order));
    match operator {
        "$eq" => equal(operand, actual),
        "$ne" => !equal(operand, actual),
        "$lt" => compares(&[Ordering::Less]),
        "$lte" => compares(&[Ordering::Less, Ordering::Equal]),
        "$gt" => compares(&[Ordering::Greater]),
        "$gte" => compares(&[Ordering::Greater, Ordering::Equal]),
        "$in" => operand.as_array().is_some_and(|values| is_in(values, actual)),
        "$nin" => operand.as_array().is_some_and(|values| !is_in(values, actual)),
        "$exists" => operand.as_bool() == Some(!actual.is_null()),
        "$not" => !value_holds(operand, actual, depth),
        _ => false,
    }
}

/// A list is in a list that has one of its members.
fn is_in(values: &[Value], actual: &Value) -> bool {
    match actual.as_array() {
        Some(several) => several.iter().any(|one| values.iter().any(|value| equal(value, one))),
        None => values.iter().any(|value| equal(value, actual)),
    }
}

/// 1 and 1.0 are one number.
fn equal(one: &Value, other: &Value) -> bool {
    one == other || one.is_number() && one.as_f64() == other.as_f64()
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions() {
        let attributes = json!({"env": "prod", "cores": 8, "zone": {"name": "a"}, "tags": ["x", "y"], "beta": true});
        let attributes = attributes.as_object().unwrap();
        for (condition, expected) in [
            (json!({}), true),
            (json!({"env": "prod"}), true),
            (json!({"env": "test"}), false),
            (json!({"env": "prod", "cores": 4}), false),
            (json!({"cores": 8.0}), true),
            (json!({"zone.name": "a"}), true),
            (json!({"zone.name.more": "a"}), false),
            (json!({"cores": {"$gte": 8, "$lt": 9}}), true),
            (json!({"cores": {"$gt": 8}}), false),
            (json!({"cores": {"$gt": "7"}}), false),
            (json!({"env": {"$gt": "a"}}), true),
            (json!({"env": {"$in": ["prod", "stage"]}}), true),
            (json!({"env": {"$nin": ["prod"]}}), false),
            (json!({"env": {"$in": "prod"}}), false),
            (json!({"tags": {"$in": ["y", "z"]}}), true),
            (json!({"missing": {"$exists": false}}), true),
            (json!({"env": {"$exists": true}}), true),
            (json!({"env": {"$not": {"$eq": "prod"}}}), false),
            (json!({"missing": {"$ne": 1}}), true),
            (json!({"env": {"$regex": "p.*"}}), false),
            (json!({"$or": [{"env": "test"}, {"cores": 8}]}), true),
            (json!({"$or": []}), true),
            (json!({"$and": [{"env": "prod"}, {"beta": false}]}), false),
            (json!({"$nor": [{"env": "test"}, {"beta": false}]}), true),
            (json!({"$not": {"env": "prod"}}), false),
            (json!({"$or": "nonsense"}), false),
        ] {
            assert_eq!(holds(condition.as_object().unwrap(), attributes), expected, "{condition}");
        }
    }

    #[test]
    fn a_deep_condition_ends() {
        let deep = (0..100).fold(json!({"env": "prod"}), |inner, _| json!({"$and": [inner]}));
        assert!(!holds(deep.as_object().unwrap(), &Map::new()));
    }
}

//! How the outputs of a step become one value.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is made of several outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduce {
    /// All that is in any of them, once each, in the order in which it comes first.
    Union,
    /// All that is in them, one after the other.
    Concat,
    /// What more than half of the sellers say that delivered, for each item.
    Majority,
    /// The number in the middle of what the sellers say, for each item.
    Median,
}

/// The outputs of one item, a seller's each.
pub type Outputs = Vec<Value>;

/// Why there is no one value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReduceError {
    /// No output is that of more than half.
    #[error("no output of item {0} is that of more than half of its sellers")]
    NoMajority(usize),
    /// A median of what is no number.
    #[error("an output of item {0} is no number")]
    NoNumber(usize),
}

impl Reduce {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Union => "union",
            Self::Concat => "concat",
            Self::Majority => "majority",
            Self::Median => "median",
        }
    }

    /// One value of the outputs of all items. `is_each`: whether the step was done for each of several; then a majority or a median is
    /// a list, an entry an item.
    ///
    /// # Errors
    /// If they don't agree, or aren't numbers.
    pub fn of(self, items: &[Outputs], is_each: bool) -> Result<Value, ReduceError> {
        let per_item = |one: fn(&Outputs) -> Option<Value>, error: fn(usize) -> ReduceError| {
            let all = items.iter().enumerate().map(|(at, outputs)| one(outputs).ok_or_else(|| error(at)));
            let all = all.collect::<Result<Vec<_>, _>>()?;
            Ok(if is_each { Value::Array(all) } else { all.into_iter().next().unwrap_or(Value::Null) })
        };
        match self {
            Self::Union => {
                let mut seen = BTreeSet::new();
                Ok(Value::Array(flat(items).filter(|value| seen.insert(value.to_string())).cloned().collect()))
            }
            Self::Concat => Ok(Value::Array(flat(items).cloned().collect())),
            Self::Majority => per_item(majority, ReduceError::NoMajority),
            Self::Median => per_item(median, ReduceError::NoNumber),
        }
    }
}

/// The entries of lists, and what is none.
fn flat(items: &[Outputs]) -> impl Iterator<Item = &Value> {
    items.iter().flatten().flat_map(|value| match value {
        Value::Array(entries) => entries.iter().collect::<Vec<_>>(),
        other => vec![other],
    })
}

fn majority(outputs: &Outputs) -> Option<Value> {
    let votes = |value: &Value| outputs.iter().filter(|other| *other == value).count();
    outputs.iter().find(|value| votes(value) * 2 > outputs.len()).cloned()
}

fn median(outputs: &Outputs) -> Option<Value> {
    let mut numbers = outputs.iter().map(Value::as_f64).collect::<Option<Vec<_>>>()?;
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let value = match numbers.len() {
        0 => return None,
        even if even % 2 == 0 => numbers[middle - 1] / 2.0 + numbers[middle] / 2.0,
        _ => numbers[middle],
    };
    // Whole numbers stay whole where a double holds them exactly.
    #[allow(clippy::cast_possible_truncation)]
    let whole = (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then(|| Value::from(value as i64));
    Some(whole.unwrap_or_else(|| Value::from(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_reduce_makes_what_its_name_says() {
        let items = vec![vec![json!(["a", "b"]), json!(["b", "c"])], vec![json!("a"), json!("d")]];
        assert_eq!(Reduce::Union.of(&items, true), Ok(json!(["a", "b", "c", "d"])));
        assert_eq!(Reduce::Concat.of(&items, true), Ok(json!(["a", "b", "b", "c", "a", "d"])));
        let votes = vec![vec![json!({"x": 1}), json!({"x": 2}), json!({"x": 1})]];
        assert_eq!(Reduce::Majority.of(&votes, false), Ok(json!({"x": 1})));
        assert_eq!(Reduce::Majority.of(&votes, true), Ok(json!([{"x": 1}])));
        assert_eq!(Reduce::Majority.of(&items, true), Err(ReduceError::NoMajority(0)), "half is no majority");
        let numbers = vec![vec![json!(9), json!(1), json!(4)], vec![json!(1), json!(2)]];
        assert_eq!(Reduce::Median.of(&numbers, true), Ok(json!([4, 1.5])));
        assert_eq!(Reduce::Median.of(&votes, false), Err(ReduceError::NoNumber(0)));
    }

    proptest! {
        #[test]
        fn a_median_has_as_many_on_either_side_whatever_one_seller_says(mut numbers in prop::collection::vec(-1000_i64..1000, 3..6), lie: i32) {
            numbers.sort_unstable();
            let (least, most) = (numbers[0], numbers[numbers.len() - 1]);
            let outputs = numbers.iter().copied().chain([i64::from(lie)]).map(Value::from).collect();
            let found = Reduce::Median.of(&[outputs], false).unwrap_or_default().as_f64().unwrap_or(f64::NAN);
            #[allow(clippy::cast_precision_loss)]
            let within = found >= least as f64 && found <= most as f64;
            prop_assert!(within, "{found} is outside of {least} to {most}");
        }
    }
}

//! Numbers as policies compare them: by value, whether written as integer or as float (ucan-wg/delegation,
//! "Comparisons"). Exact: no integer is rounded to a float to be compared.

use std::{cmp::Ordering, fmt};

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The right side of an inequality: an integer or a finite float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer; DAG-CBOR holds −2^64 to 2^64 − 1.
    Int(i128),
    /// A finite float.
    Float(f64),
}

impl Number {
    /// The number that a value is, if it is one. NaN and the infinities are none.
    pub fn from_ipld(value: &Ipld) -> Option<Self> {
        match value {
            Ipld::Integer(int) => Some(Self::Int(*int)),
            Ipld::Float(float) if float.is_finite() => Some(Self::Float(*float)),
            _ => None,
        }
    }

    /// The order of two numbers by value; `None` if either is NaN.
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(&right)),
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(&right),
            (Self::Int(left), Self::Float(right)) => compare_mixed(left, right),
            (Self::Float(left), Self::Int(right)) => compare_mixed(right, left).map(Ordering::reverse),
        }
    }
}

/// The least power of two that an `i128` can't hold.
const BEYOND_INT: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

fn compare_mixed(int: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float >= BEYOND_INT {
        return Some(Ordering::Less);
    }
    if float < -BEYOND_INT {
        return Some(Ordering::Greater);
    }
    #[allow(clippy::cast_possible_truncation)] // its whole part is within i128, and exact there
    let whole = float.trunc() as i128;
    Some(int.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(float.fract() + 0.0))))
}

impl From<u64> for Number {
    fn from(int: u64) -> Self {
        Self::Int(int.into())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(int) => fmt::Display::fmt(int, f),
            Self::Float(float) => fmt::Display::fmt(float, f),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(int) => Ipld::Integer(*int).serialize(serializer),
            Self::Float(float) => serializer.serialize_f64(*float),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numeric;
        impl de::Visitor<'_> for Numeric {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E: de::Error>(self, int: u64) -> Result<Number, E> {
                Ok(Number::Int(int.into()))
            }

            fn visit_i64<E: de::Error>(self, int: i64) -> Result<Number, E> {
                Ok(Number::Int(int.into()))
            }

            fn visit_i128<E: de::Error>(self, int: i128) -> Result<Number, E> {
                Ok(Number::Int(int))
            }

            fn visit_f64<E: de::Error>(self, float: f64) -> Result<Number, E> {
                if float.is_finite() { Ok(Number::Float(float)) } else { Err(E::custom("a number is finite")) }
            }
        }
        deserializer.deserialize_any(Numeric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_compare_by_value() {
        use Number::{Float, Int};
        let two_to_53 = 9_007_199_254_740_992_i128;
        for (left, right, order) in [
            (Int(1), Float(1.0), Ordering::Equal),
            (Int(0), Float(-0.0), Ordering::Equal),
            (Int(0), Float(0.5), Ordering::Less),
            (Int(0), Float(-0.5), Ordering::Greater),
            (Int(-1), Float(-1.5), Ordering::Greater),
            (Int(two_to_53 + 1), Float(9_007_199_254_740_992.0), Ordering::Greater),
            (Int(i128::from(u64::MAX)), Float(18_446_744_073_709_551_616.0), Ordering::Less),
            (Int(i128::MAX), Float(BEYOND_INT), Ordering::Less),
            (Int(i128::MIN), Float(-BEYOND_INT), Ordering::Equal),
            (Int(i128::MIN), Float(f64::MIN), Ordering::Greater),
            (Int(i128::MAX), Float(f64::MAX), Ordering::Less),
            (Int(7), Float(f64::INFINITY), Ordering::Less),
        ] {
            assert_eq!(left.compare(right), Some(order), "{left} {right}");
            assert_eq!(right.compare(left), Some(order.reverse()), "{right} {left}");
        }
        assert_eq!(Int(1).compare(Float(f64::NAN)), None);
        assert_eq!(Float(f64::NAN).compare(Float(f64::NAN)), None);
    }
}

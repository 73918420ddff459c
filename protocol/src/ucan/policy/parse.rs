//! Policies as they stand in a delegation: tuples of an operator and its arguments, read within bounds.

use std::{cell::Cell, fmt};

use ipld_core::ipld::Ipld;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, SeqAccess},
    ser::SerializeSeq,
};

use super::{Comparison, Number, Policy, Statement};
use crate::{
    limits::{MAX_POLICY_DEPTH, MAX_POLICY_STATEMENTS},
    ucan::field,
};

/// Why statements make no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Over [`MAX_POLICY_STATEMENTS`].
    #[error("a policy has at most {MAX_POLICY_STATEMENTS} statements")]
    Long,
    /// Over [`MAX_POLICY_DEPTH`].
    #[error("the statements of a policy nest at most {MAX_POLICY_DEPTH} deep")]
    Deep,
    /// NaN, an infinity, an integer of more than 64 bits, or a value that nests too deep.
    #[error("the values of a policy must be ones that DAG-CBOR can hold")]
    Value,
}

/// What is left of the bounds while a policy is read.
struct Bounds(Cell<usize>);

impl Bounds {
    fn new() -> Self {
        Self(Cell::new(MAX_POLICY_STATEMENTS))
    }

    fn take(&self, depth: usize) -> Result<(), PolicyError> {
        if depth == 0 {
            return Err(PolicyError::Deep);
        }
        self.0.set(self.0.get().checked_sub(1).ok_or(PolicyError::Long)?);
        Ok(())
    }
}

/// Whether statements that were built, not read, keep within what reading allows.
pub(super) fn check_bounds(statements: &[Statement]) -> Result<(), PolicyError> {
    fn walk(statement: &Statement, depth: usize, bounds: &Bounds) -> Result<(), PolicyError> {
        bounds.take(depth)?;
        match statement {
            Statement::Not(inner) | Statement::All(_, inner) | Statement::Any(_, inner) => {
                walk(inner, depth - 1, bounds)
            }
            Statement::And(inner) | Statement::Or(inner) => {
                inner.iter().try_for_each(|statement| walk(statement, depth - 1, bounds))
            }
            Statement::Compare(_, _, Number::Float(float)) => check_value(&Ipld::Float(*float)),
            Statement::Compare(_, _, Number::Int(int)) => check_value(&Ipld::Integer(*int)),
            Statement::Equal(_, value) | Statement::NotEqual(_, value) => check_value(value),
            Statement::Like(..) => Ok(()),
        }
    }
    let bounds = Bounds::new();
    statements.iter().try_for_each(|statement| walk(statement, MAX_POLICY_DEPTH, &bounds))
}

fn check_value(value: &Ipld) -> Result<(), PolicyError> {
    if field::is_encodable(value) { Ok(()) } else { Err(PolicyError::Value) }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bounds = Bounds::new();
        Many { depth: MAX_POLICY_DEPTH, bounds: &bounds }.deserialize(deserializer).map(Self)
    }
}

/// Reads a list of statements.
#[derive(Clone, Copy)]
struct Many<'b> {
    depth: usize,
    bounds: &'b Bounds,
}

impl<'de> DeserializeSeed<'de> for Many<'_> {
    type Value = Vec<Statement>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> de::Visitor<'de> for Many<'_> {
    type Value = Vec<Statement>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of policy statements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut statements = Vec::new();
        while let Some(statement) = list.next_element_seed(One { depth: self.depth, bounds: self.bounds })? {
            statements.push(statement);
        }
        Ok(statements)
    }
}

/// Reads one statement.
#[derive(Clone, Copy)]
struct One<'b> {
    depth: usize,
    bounds: &'b Bounds,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Statement;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Statement, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> de::Visitor<'de> for One<'_> {
    type Value = Statement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy statement: an operator and its arguments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tuple: A) -> Result<Statement, A::Error> {
        self.bounds.take(self.depth).map_err(de::Error::custom)?;
        let deeper = Self { depth: self.depth - 1, bounds: self.bounds };
        let list = Many { depth: deeper.depth, bounds: self.bounds };
        let statement = match next(&mut tuple)? {
            Operator::Equal => Statement::Equal(next(&mut tuple)?, next(&mut tuple)?),
            Operator::NotEqual => Statement::NotEqual(next(&mut tuple)?, next(&mut tuple)?),
            Operator::Compare(comparison) => Statement::Compare(comparison, next(&mut tuple)?, next(&mut tuple)?),
            Operator::Like => Statement::Like(next(&mut tuple)?, next(&mut tuple)?),
            Operator::Not => Statement::Not(Box::new(next_seed(&mut tuple, deeper)?)),
            Operator::And => Statement::And(next_seed(&mut tuple, list)?),
            Operator::Or => Statement::Or(next_seed(&mut tuple, list)?),
            Operator::All => Statement::All(next(&mut tuple)?, Box::new(next_seed(&mut tuple, deeper)?)),
            Operator::Any => Statement::Any(next(&mut tuple)?, Box::new(next_seed(&mut tuple, deeper)?)),
        };
        match tuple.next_element::<de::IgnoredAny>()? {
            None => Ok(statement),
            Some(_) => Err(de::Error::custom("a policy statement has too many parts")),
        }
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(tuple: &mut A) -> Result<T, A::Error> {
    tuple.next_element()?.ok_or_else(|| de::Error::custom("a policy statement lacks a part"))
}

fn next_seed<'de, S: DeserializeSeed<'de>, A: SeqAccess<'de>>(tuple: &mut A, seed: S) -> Result<S::Value, A::Error> {
    tuple.next_element_seed(seed)?.ok_or_else(|| de::Error::custom("a policy statement lacks a part"))
}

enum Operator {
    Equal,
    NotEqual,
    Compare(Comparison),
    Like,
    Not,
    And,
    Or,
    All,
    Any,
}

impl<'de> Deserialize<'de> for Operator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Operator;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a policy operator")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Operator, E> {
                Ok(match text {
                    "==" => Operator::Equal,
                    "!=" => Operator::NotEqual,
                    "<" => Operator::Compare(Comparison::Less),
                    "<=" => Operator::Compare(Comparison::AtMost),
                    ">" => Operator::Compare(Comparison::Greater),
                    ">=" => Operator::Compare(Comparison::AtLeast),
                    "like" => Operator::Like,
                    "not" => Operator::Not,
                    "and" => Operator::And,
                    "or" => Operator::Or,
                    "all" => Operator::All,
                    "any" => Operator::Any,
                    _ => return Err(E::custom(format_args!("{text:.20?} is no policy operator"))),
                })
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Serialize for Statement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Equal(selector, value) => three(serializer, "==", selector, value),
            Self::NotEqual(selector, value) => three(serializer, "!=", selector, value),
            Self::Compare(comparison, selector, bound) => three(serializer, comparison.as_str(), selector, bound),
            Self::Like(selector, pattern) => three(serializer, "like", selector, pattern),
            Self::Not(inner) => two(serializer, "not", inner),
            Self::And(inner) => two(serializer, "and", inner),
            Self::Or(inner) => two(serializer, "or", inner),
            Self::All(selector, inner) => three(serializer, "all", selector, inner),
            Self::Any(selector, inner) => three(serializer, "any", selector, inner),
        }
    }
}

fn two<S: Serializer>(serializer: S, operator: &str, argument: &impl Serialize) -> Result<S::Ok, S::Error> {
    let mut tuple = serializer.serialize_seq(Some(2))?;
    tuple.serialize_element(operator)?;
    tuple.serialize_element(argument)?;
    tuple.end()
}

fn three<S: Serializer>(
    serializer: S,
    operator: &str,
    selector: &impl Serialize,
    argument: &impl Serialize,
) -> Result<S::Ok, S::Error> {
    let mut tuple = serializer.serialize_seq(Some(3))?;
    tuple.serialize_element(operator)?;
    tuple.serialize_element(selector)?;
    tuple.serialize_element(argument)?;
    tuple.end()
}

//! The policy language: what must hold of the arguments of an invocation (ucan-wg/delegation, "Policy").
//!
//! A policy is parsed when its delegation is decoded: unknown operators, malformed selectors and statements beyond the
//! bounds of [`crate::limits`] make the delegation invalid, not merely useless. It is evaluated with [`Fuel`]; what runs
//! out authorises nothing, also under a `not`.
//!
//! Where the specification leaves room: `!=` of a selector that finds nothing is false, like every statement whose
//! selector fails; an empty `or` is true (fixtures); `any` of nothing is false, `all` of nothing true.

mod fuel;
mod glob;
mod number;
mod parse;
mod selector;

use std::{cmp::Ordering, fmt};

use ipld_core::ipld::Ipld;

use self::selector::View;
pub use self::{
    fuel::{Fuel, OutOfFuel},
    number::Number,
    parse::PolicyError,
    selector::{Selector, SelectorError},
};
use crate::limits::POLICY_FUEL;

/// Statements that must all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy(Vec<Statement>);

/// One predicate over the arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `["==", selector, value]`: the same value, numbers compared by value.
    Equal(Selector, Ipld),
    /// `["!=", selector, value]`.
    NotEqual(Selector, Ipld),
    /// `["<" | "<=" | ">" | ">=", selector, number]`.
    Compare(Comparison, Selector, Number),
    /// `["like", selector, pattern]`: text that matches a glob.
    Like(Selector, Box<str>),
    /// `["not", statement]`.
    Not(Box<Self>),
    /// `["and", [statement…]]`.
    And(Vec<Self>),
    /// `["or", [statement…]]`; none at all holds.
    Or(Vec<Self>),
    /// `["all", selector, statement]`: of every element of a list or value of a map.
    All(Selector, Box<Self>),
    /// `["any", selector, statement]`: of at least one.
    Any(Selector, Box<Self>),
}

/// An inequality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

impl Comparison {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }

    const fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

impl Policy {
    /// A policy of these statements.
    ///
    /// # Errors
    /// If they go over the bounds, or hold a number that isn't finite.
    pub fn new(statements: Vec<Statement>) -> Result<Self, PolicyError> {
        parse::check_bounds(&statements)?;
        Ok(Self(statements))
    }

    /// The statements, in order.
    pub fn statements(&self) -> &[Statement] {
        &self.0
    }

    /// Whether every statement holds of `args`, at a cost that `fuel` bears.
    ///
    /// # Errors
    /// If the fuel doesn't last.
    pub fn matches(&self, args: &Ipld, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
        self.first_failing(args, fuel).map(|failing| failing.is_none())
    }

    /// Whether the policy lets these arguments pass, within [`POLICY_FUEL`].
    pub fn allows(&self, args: &Ipld) -> bool {
        self.matches(args, &mut Fuel::new(POLICY_FUEL)) == Ok(true)
    }

    /// The first statement that doesn't hold.
    pub(super) fn first_failing(&self, args: &Ipld, fuel: &mut Fuel) -> Result<Option<&Statement>, OutOfFuel> {
        for statement in &self.0 {
            if !statement.holds(&View::Node(args), fuel)? {
                return Ok(Some(statement));
            }
        }
        Ok(None)
    }
}

impl Statement {
    /// Whether it holds of `args`, within [`POLICY_FUEL`].
    pub(super) fn allows(&self, args: &Ipld) -> Result<bool, OutOfFuel> {
        self.holds(&View::Node(args), &mut Fuel::new(POLICY_FUEL))
    }

    /// Whether every argument that it reads is one of `known`.
    pub(super) fn reads_only(&self, known: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Equal(selector, _)
            | Self::NotEqual(selector, _)
            | Self::Compare(_, selector, _)
            | Self::Like(selector, _)
            | Self::All(selector, _)
            | Self::Any(selector, _) => selector.root_field().is_some_and(known),
            Self::Not(inner) => inner.reads_only(known),
            Self::And(inner) | Self::Or(inner) => inner.iter().all(|statement| statement.reads_only(known)),
        }
    }

    /// The argument that it reads, if it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Equal(selector, _)
            | Self::NotEqual(selector, _)
            | Self::Compare(_, selector, _)
            | Self::Like(selector, _)
            | Self::All(selector, _)
            | Self::Any(selector, _) => selector.root_field(),
            Self::Not(inner) => inner.field(),
            Self::And(inner) | Self::Or(inner) => {
                let first = inner.first()?.field()?;
                inner.iter().all(|statement| statement.field() == Some(first)).then_some(first)
            }
        }
    }

    fn holds(&self, root: &View<'_>, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
        fuel.burn(1)?;
        match self {
            Self::Not(inner) => inner.holds(root, fuel).map(|holds| !holds),
            Self::And(inner) => {
                for statement in inner {
                    if !statement.holds(root, fuel)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(inner) => {
                for statement in inner {
                    if statement.holds(root, fuel)? {
                        return Ok(true);
                    }
                }
                Ok(inner.is_empty())
            }
            Self::Equal(selector, _)
            | Self::NotEqual(selector, _)
            | Self::Compare(_, selector, _)
            | Self::Like(selector, _)
            | Self::All(selector, _)
            | Self::Any(selector, _) => match selector.select(root.clone(), fuel)? {
                Some(found) => self.holds_of(&found, fuel),
                None => Ok(false),
            },
        }
    }

    /// The predicate itself, of what its selector found.
    fn holds_of(&self, found: &View<'_>, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
        match self {
            Self::Equal(_, value) => found.equals(value, fuel),
            Self::NotEqual(_, value) => found.equals(value, fuel).map(|equal| !equal),
            Self::Compare(comparison, _, bound) => {
                let order = found.number().and_then(|number| number.compare(*bound));
                Ok(order.is_some_and(|order| comparison.holds(order)))
            }
            Self::Like(_, pattern) => match found {
                View::Node(Ipld::String(text)) => {
                    fuel.burn_bytes(text.len() + pattern.len())?;
                    Ok(glob::matches(pattern, text))
                }
                _ => Ok(false),
            },
            Self::All(_, inner) => found.quantify(inner, false, fuel).map(|decided| decided == Some(true)),
            Self::Any(_, inner) => found.quantify(inner, true, fuel).map(|decided| decided == Some(true)),
            Self::Not(_) | Self::And(_) | Self::Or(_) => Ok(false),
        }
    }
}

impl View<'_> {
    fn number(&self) -> Option<Number> {
        match self {
            Self::Node(value) => Number::from_ipld(value),
            Self::Byte(byte) => Some(Number::Int((*byte).into())),
            _ => None,
        }
    }

    fn equals(&self, value: &Ipld, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
        match (self, value) {
            (Self::Node(node), _) => equal(node, value, fuel),
            (Self::Null, Ipld::Null) => Ok(true),
            (Self::Byte(byte), _) => equal(&Ipld::Integer((*byte).into()), value, fuel),
            (Self::Bytes(left), Ipld::Bytes(right)) => {
                fuel.burn_bytes(right.len())?;
                Ok(*left == right.as_slice())
            }
            (Self::List(left), Ipld::List(right)) => all_equal(left.iter(), right, fuel),
            (Self::Values(left), Ipld::List(right)) => all_equal(left.iter().copied(), right, fuel),
            _ => Ok(false),
        }
    }

    /// Goes over the elements until one decides: `sought` if `inner` is `sought` of one of them, else its opposite.
    /// `None` if this isn't a collection.
    fn quantify(&self, inner: &Statement, sought: bool, fuel: &mut Fuel) -> Result<Option<bool>, OutOfFuel> {
        match self {
            Self::Node(Ipld::List(items)) => quantify(items.iter(), inner, sought, fuel),
            Self::Node(Ipld::Map(map)) => quantify(map.values(), inner, sought, fuel),
            Self::List(items) => quantify(items.iter(), inner, sought, fuel),
            Self::Values(items) => quantify(items.iter().copied(), inner, sought, fuel),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

fn quantify<'a>(
    items: impl Iterator<Item = &'a Ipld>,
    inner: &Statement,
    sought: bool,
    fuel: &mut Fuel,
) -> Result<bool, OutOfFuel> {
    for item in items {
        if inner.holds(&View::Node(item), fuel)? == sought {
            return Ok(sought);
        }
    }
    Ok(!sought)
}

/// Deep equality; numbers by value.
fn equal(left: &Ipld, right: &Ipld, fuel: &mut Fuel) -> Result<bool, OutOfFuel> {
    fuel.burn(1)?;
    match (left, right) {
        (Ipld::String(left), Ipld::String(right)) => {
            fuel.burn_bytes(right.len())?;
            Ok(left == right)
        }
        (Ipld::Bytes(left), Ipld::Bytes(right)) => {
            fuel.burn_bytes(right.len())?;
            Ok(left == right)
        }
        (Ipld::List(left), Ipld::List(right)) => all_equal(left.iter(), right, fuel),
        (Ipld::Map(left), Ipld::Map(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for ((left_key, left_value), (right_key, right_value)) in left.iter().zip(right) {
                fuel.burn_bytes(right_key.len())?;
                if left_key != right_key || !equal(left_value, right_value, fuel)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Ipld::Null, Ipld::Null) => Ok(true),
        (Ipld::Bool(left), Ipld::Bool(right)) => Ok(left == right),
        (Ipld::Link(left), Ipld::Link(right)) => Ok(left == right),
        _ => match (Number::from_ipld(left), Number::from_ipld(right)) {
            (Some(left), Some(right)) => Ok(left.compare(right) == Some(Ordering::Equal)),
            _ => Ok(false),
        },
    }
}

fn all_equal<'a>(
    left: impl ExactSizeIterator<Item = &'a Ipld>,
    right: &[Ipld],
    fuel: &mut Fuel,
) -> Result<bool, OutOfFuel> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.zip(right) {
        if !equal(left, right, fuel)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_joined(f, &self.0, " and ")
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(selector, value) => write!(f, "{selector} == {}", Shown(value)),
            Self::NotEqual(selector, value) => write!(f, "{selector} != {}", Shown(value)),
            Self::Compare(comparison, selector, bound) => write!(f, "{selector} {} {bound}", comparison.as_str()),
            Self::Like(selector, pattern) => write!(f, "{selector} like {pattern:?}"),
            Self::Not(inner) => write!(f, "not ({inner})"),
            Self::And(inner) | Self::Or(inner) if inner.is_empty() => f.write_str("anything"),
            Self::And(inner) => {
                f.write_str("(")?;
                write_joined(f, inner, " and ")?;
                f.write_str(")")
            }
            Self::Or(inner) => {
                f.write_str("(")?;
                write_joined(f, inner, " or ")?;
                f.write_str(")")
            }
            Self::All(selector, inner) => write!(f, "for all of {selector}: ({inner})"),
            Self::Any(selector, inner) => write!(f, "for any of {selector}: ({inner})"),
        }
    }
}

fn write_joined(f: &mut fmt::Formatter<'_>, statements: &[Statement], joint: &str) -> fmt::Result {
    for (place, statement) in statements.iter().enumerate() {
        if place > 0 {
            f.write_str(joint)?;
        }
        fmt::Display::fmt(statement, f)?;
    }
    Ok(())
}

/// A value as a reader of a policy wants it. Texts are escaped, so that none of them reaches a terminal as is.
struct Shown<'a>(&'a Ipld);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ipld::Bytes(bytes) => write!(f, "0x{}", hex::encode(bytes)),
            Ipld::List(items) => f.debug_list().entries(items.iter().map(|item| DebugShown(Shown(item)))).finish(),
            Ipld::Map(map) => {
                f.debug_map().entries(map.iter().map(|(key, value)| (key, DebugShown(Shown(value))))).finish()
            }
            other => fmt::Debug::fmt(other, f),
        }
    }
}

struct DebugShown<'a>(Shown<'a>);

impl fmt::Debug for DebugShown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

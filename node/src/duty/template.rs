//! Inputs with gaps that a run fills: `{"url": "{{item}}", "lang": "{{trigger.lang}}"}`.
//!
//! A template is parsed as JSON first; only then are the gaps in its strings filled, each as text. What is brought in therefore stays
//! inside the string where its gap stands: it can add no field, no item and no gap. Keys have no gaps.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    limits::MAX_VALUE_BYTES,
    value::{Sourced, Trust},
};

/// A template, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Plain(Value),
    Text(Vec<Part>),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Gap(Path),
}

/// Where a value is: `trigger.issue.title`, `read.0`, `item`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// `trigger`, `item`, `run`, or a step's ID.
    pub root: String,
    /// From there on.
    pub rest: Vec<String>,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It isn't JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// A gap isn't closed, or names nothing.
    #[error("`{0}` is no gap")]
    BadGap(String),
    /// A gap in a key.
    #[error("the key `{0}` has a gap")]
    GapInKey(String),
}

/// Why a template can't be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// There is nothing of that name.
    #[error("there is no `{0}`")]
    Missing(String),
    /// Filled, it is too large.
    #[error("filled in, it has over {MAX_VALUE_BYTES} bytes")]
    TooLarge,
}

/// What gaps are filled from.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    /// What set the run off.
    pub trigger: &'a Sourced,
    /// The run itself: `id`, `duty`, `due`.
    pub run: &'a Sourced,
    /// Outputs of the steps before.
    pub steps: &'a BTreeMap<String, Sourced>,
    /// The item, where a step is done for each of several.
    pub item: Option<&'a Sourced>,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let wrong = || TemplateError::BadGap(text.to_owned());
        let names: Vec<String> = text.trim().split('.').map(ToOwned::to_owned).collect();
        let fits =
            |name: &String| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "{}\"".contains(c));
        if !names.iter().all(fits) {
            return Err(wrong());
        }
        let mut names = names.into_iter();
        Ok(Self { root: names.next().ok_or_else(wrong)?, rest: names.collect() })
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.root)?;
        self.rest.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

impl Scope<'_> {
    /// The value at a path.
    ///
    /// # Errors
    /// If there is none.
    pub fn look(&self, path: &Path) -> Result<Sourced, FillError> {
        let root = match path.root.as_str() {
            "trigger" => Some(self.trigger),
            "run" => Some(self.run),
            "item" => self.item,
            step => self.steps.get(step),
        };
        root.and_then(|root| root.at(&path.rest)).ok_or_else(|| FillError::Missing(path.to_string()))
    }
}

impl Template {
    /// Reads a template of JSON.
    ///
    /// # Errors
    /// If it isn't JSON, or has a gap that names nothing.
    pub fn json(text: &str) -> Result<Self, TemplateError> {
        let value = serde_json::from_str(text).map_err(|error| TemplateError::NotJson(error.to_string()))?;
        Node::of(value).map(Self)
    }

    /// Reads a template of plain text: one string.
    ///
    /// # Errors
    /// If it has a gap that names nothing.
    pub fn text(text: &str) -> Result<Self, TemplateError> {
        Node::of(Value::String(text.to_owned())).map(Self)
    }

    /// The paths of all its gaps.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.0.paths(&mut paths);
        paths
    }

    /// Fills every gap. What comes out is as good as the worst that was filled in; the file itself is the owner's.
    ///
    /// # Errors
    /// If something that a gap names isn't there, or it comes to too much.
    pub fn fill(&self, scope: &Scope<'_>) -> Result<Sourced, FillError> {
        let (mut trust, mut left) = (Trust::Owner, MAX_VALUE_BYTES);
        let value = self.0.fill(scope, &mut trust, &mut left)?;
        Ok(Sourced { value, trust })
    }
}

impl Node {
    fn of(value: Value) -> Result<Self, TemplateError> {
        Ok(match value {
            Value::String(text) => Self::Text(parts(&text)?),
            Value::Array(items) => Self::List(items.into_iter().map(Self::of).collect::<Result<_, _>>()?),
            Value::Object(map) => {
                let mut fields = BTreeMap::new();
                for (key, value) in map {
                    if key.contains("{{") {
                        return Err(TemplateError::GapInKey(key));
                    }
                    fields.insert(key, Self::of(value)?);
                }
                Self::Map(fields)
            }
            plain => Self::Plain(plain),
        })
    }

    fn paths<'a>(&'a self, found: &mut Vec<&'a Path>) {
        match self {
            Self::Plain(_) => {}
            Self::Text(parts) => found.extend(parts.iter().filter_map(|part| match part {
                Part::Gap(path) => Some(path),
                Part::Text(_) => None,
            })),
            Self::List(items) => items.iter().for_each(|item| item.paths(found)),
            Self::Map(fields) => fields.values().for_each(|field| field.paths(found)),
        }
    }

    fn fill(&self, scope: &Scope<'_>, trust: &mut Trust, left: &mut usize) -> Result<Value, FillError> {
        Ok(match self {
            Self::Plain(value) => value.clone(),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(plain) => text.push_str(plain),
                        Part::Gap(path) => {
                            let found = scope.look(path)?;
                            let filled = found.text();
                            *left = left.checked_sub(filled.len()).ok_or(FillError::TooLarge)?;
                            *trust = (*trust).min(found.trust);
                            text.push_str(&filled);
                        }
                    }
                }
                Value::String(text)
            }
            Self::List(items) => {
                Value::Array(items.iter().map(|item| item.fill(scope, trust, left)).collect::<Result<_, _>>()?)
            }
            Self::Map(fields) => {
                let mut map = Map::new();
                for (key, field) in fields {
                    map.insert(key.clone(), field.fill(scope, trust, left)?);
                }
                Value::Object(map)
            }
        })
    }
}

fn parts(text: &str) -> Result<Vec<Part>, TemplateError> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let (gap, behind) = after.split_once("}}").ok_or_else(|| TemplateError::BadGap(after.to_owned()))?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(Part::Gap(Path::parse(gap)?));
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fill(template: &str, trigger: Value) -> Result<Sourced, FillError> {
        let (trigger, run) = (Sourced::new(trigger, Trust::World), Sourced::new(json!({"id": "r1"}), Trust::Node));
        let steps = [("read".to_owned(), Sourced::new(json!(["a", 7]), Trust::Peer))].into();
        let item = Sourced::new(json!("i"), Trust::World);
        let scope = Scope { trigger: &trigger, run: &run, steps: &steps, item: Some(&item) };
        Template::json(template).unwrap().fill(&scope)
    }

    #[test]
    fn gaps_are_filled_with_what_their_paths_name() {
        let filled =
            fill(r#"{"a": "{{trigger.x.0}} and {{read.1}}", "b": ["{{item}}", 3, null]}"#, json!({"x": ["q"]}));
        assert_eq!(filled.unwrap().value, json!({"a": "q and 7", "b": ["i", 3, null]}));
        assert_eq!(fill(r#""{{trigger.y}}""#, json!({})), Err(FillError::Missing("trigger.y".into())));
    }

    #[test]
    fn what_is_filled_is_as_good_as_the_worst_in_it() {
        let trust = |template| fill(template, json!({"x": "q"})).unwrap().trust;
        assert_eq!(trust(r#"{"a": "plain"}"#), Trust::Owner);
        assert_eq!(trust(r#"["{{run.id}}"]"#), Trust::Node);
        assert_eq!(trust(r#"["{{run.id}}", "{{read.0}}"]"#), Trust::Peer);
        assert_eq!(trust(r#"["{{read.0}}", "{{trigger.x}}"]"#), Trust::World);
    }

    #[test]
    fn a_gap_in_a_key_or_without_a_name_or_an_end_is_refused() {
        for template in [r#"{"{{item}}": 1}"#, r#""{{""#, r#""{{}}""#, r#""{{a..b}}""#, r#""{{a b}}""#, "{"] {
            assert!(Template::json(template).is_err(), "{template}");
        }
    }

    #[test]
    fn what_is_filled_in_is_bounded() {
        let large = "x".repeat(MAX_VALUE_BYTES / 2 + 1);
        assert_eq!(fill(r#"["{{trigger}}", "{{trigger}}"]"#, json!(large)), Err(FillError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_brought_in_never_becomes_structure(text in "\\PC*|[\\[\\]{}\":,\\\\a-z]*") {
            let filled = fill(r#"{"a": "{{trigger}}", "b": "x"}"#, json!(text)).unwrap().value;
            prop_assert_eq!(&filled, &json!({"a": text, "b": "x"}));
            // Nor when it is written and read again.
            prop_assert_eq!(serde_json::from_str::<Value>(&filled.to_string()).unwrap(), filled);
        }

        #[test]
        fn structure_that_is_brought_in_is_text(inner in "[a-z{}]{0,12}") {
            let brought = json!({"service": inner, "n": [1, {"x": inner}]});
            let filled = fill(r#"{"a": "{{trigger}}"}"#, brought.clone()).unwrap().value;
            prop_assert_eq!(filled, json!({"a": brought.to_string()}));
        }

        #[test]
        fn a_gap_that_is_brought_in_stays_text(path in "trigger|run.id|read.0|item") {
            let text = format!("{{{{{path}}}}}");
            prop_assert_eq!(fill(r#"["{{trigger}}"]"#, json!(text)).unwrap().value, json!([text]));
        }
    }
}

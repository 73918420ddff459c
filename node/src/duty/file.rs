//! The file that says what a duty is: `guilder duty add FILE.toml`.
//!
//! ```toml
//! name = "digest"
//! description = "Reads what the team linked to, and sums it up."
//! on = [{ cron = "0 7 * * 1-5", zone = "Europe/Berlin", missed = "last", grace = "3h" }, { hook = "repo", event = "push" }]
//! budget = { unit = "sat", run = 40, day = 100 }
//! overlap = "skip"               # or queue: what a moment comes to while the run before goes on
//!
//! [[step]]
//! id = "read"
//! each = "trigger.urls"          # one after the other in the list, done in parallel
//! max_items = 8                  # required: what comes from outside never sets how much is bought
//! hire = "web.extract"
//! input = '{"url": "{{item}}"}'
//! sellers = 2                    # distinct; all of them must deliver, unless quorum says how many
//!
//! [[step]]
//! reduce = "union"
//! of = "read"
//! ```
//!
//! Unknown fields are refused. Only `input` and `text` take gaps (`{{…}}`): everything else is what stands here.

use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

use guilder_protocol::{
    fault::{AtFault, Fault},
    identity::AgentId,
    limits::MAX_MEMORY_NAME,
    market::{MintUrl, ServiceName, Unit},
    memory::is_domain,
};
use serde::{Deserialize, Serialize};

use super::{
    limits::{
        MAX_DEADLINE_SECS, MAX_FILE_BYTES, MAX_RUN_HIRES, MAX_SELLERS, MAX_STEPS, MAX_TRIGGERS, MAX_WAIT_SECS, RECALLED,
    },
    reduce::Reduce,
    schedule::{Missed, Schedule},
    template::{Path, Template},
    value::Trust,
};
use crate::{limits::MAX_RECALLED, trade::HireMode};

/// A duty, read and checked.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// What sets it off; by hand it can be at any time.
    pub on: Vec<Trigger>,
    /// What it may spend; none where it buys nothing.
    pub budget: Option<Budget>,
    /// What happens to a moment that comes while a run goes on.
    pub overlap: Overlap,
    /// What is done, one step after the other.
    pub steps: Vec<Step>,
}

/// What sets a duty off.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// A schedule.
    Cron(Arc<Schedule>),
    /// A webhook.
    Hook {
        /// Which.
        hook: String,
        /// Only this event; any if none is said.
        event: Option<String>,
    },
    /// Something that happens in the node.
    Event(NodeTrigger),
}

/// What of all that happens in a node sets a duty off. What its own hires do never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeTrigger {
    /// A task that was bought here has been delivered.
    TaskDelivered,
    /// A task that was bought here has failed.
    TaskFailed,
    /// A task that was sold here has been delivered.
    TaskSold,
    /// Ecash or a payment came in.
    MoneyReceived,
    /// A mint is in trouble.
    MintTrouble,
    /// A peer was penalized.
    PeerPenalized,
}

/// What a duty may spend, net.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The unit that it pays in.
    pub unit: Unit,
    /// The most that one run may spend.
    pub run: u64,
    /// The most that all runs of one day (UTC) may.
    pub day: u64,
}

/// What happens to a moment that comes while a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It runs when the one before is over.
    Queue,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its ID: as the file says, else its number.
    pub id: String,
    /// What is done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Buys a service's work.
    Hire(Work),
    /// Has a service of this node's own do it, unpaid.
    Run(Work),
    /// Buys a verdict on a step's output.
    Verify(Work),
    /// Makes one value of a step's outputs.
    Reduce {
        /// How.
        how: Reduce,
        /// Of which step.
        of: String,
    },
    /// Puts something where other programs have it.
    Post {
        /// Where.
        to: Target,
        /// What.
        body: Input,
    },
    /// Waits.
    Wait {
        /// So many seconds.
        secs: u64,
    },
    /// Keeps something beyond the run.
    Remember(Note),
    /// Finds what is remembered.
    Recall(Asking),
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// In which domain.
    pub domain: String,
    /// Of whom or what it tells.
    pub subject: Option<String>,
    /// What.
    pub text: Input,
}

/// What is recalled.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// Of which domain.
    pub domain: String,
    /// In words.
    pub question: Input,
    /// Only what tells of this.
    pub subject: Option<String>,
    /// Only what is trusted at least so much.
    pub trust: Option<Trust>,
    /// At most so many.
    pub limit: usize,
    /// Whether the domain may be a private one: what is recalled may then leave with what the duty buys and posts.
    pub private: bool,
}

/// Work that is bought, or done by a service of one's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The service.
    pub service: ServiceName,
    /// What it is given.
    pub input: Input,
    /// Done for each of several.
    pub each: Option<Each>,
    /// Sellers that do each item.
    pub sellers: u64,
    /// Of them, how many must deliver.
    pub quorum: u64,
    /// How many items must; all of them if it isn't said.
    pub min_items: Option<u64>,
    /// The most that one costs, net; the settings' if it isn't said, and what the budget leaves.
    pub max_price: Option<u64>,
    /// How long one may take; the settings' if it isn't said.
    pub deadline_secs: Option<u64>,
    /// This seller and no other.
    pub seller: Option<AgentId>,
    /// This mint's ecash and no other's.
    pub mint: Option<MintUrl>,
    /// How it is paid.
    pub mode: Option<HireMode>,
    /// The step whose output is verified.
    pub of: Option<String>,
}

/// What a step is done for each of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// The list.
    pub path: Path,
    /// The most of it that is taken.
    pub max_items: u64,
}

/// What a step is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// JSON with gaps.
    Json(Template),
    /// Text with gaps, sent as it is.
    Text(Template),
    /// All that a step has put out.
    Output(String),
    /// Nothing: an empty input.
    Nothing,
}

/// Where something is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A URL on this machine.
    Url(String),
    /// A file in the home's `posts` folder.
    File(String),
}

/// What is wrong in a duty's file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct FileError {
    /// Where: a field, a step.
    pub place: String,
    /// What.
    pub problem: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl AtFault for FileError {
    fn fault(&self) -> Fault {
        Fault::Ours
    }

    fn hint(&self) -> Option<&'static str> {
        Some(self.hint)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    on: Vec<WrittenTrigger>,
    budget: Option<Budget>,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default)]
    step: Vec<WrittenStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTrigger {
    cron: Option<String>,
    zone: Option<String>,
    missed: Option<Missed>,
    grace: Option<String>,
    hook: Option<String>,
    event: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    id: Option<String>,
    hire: Option<ServiceName>,
    run: Option<ServiceName>,
    verify: Option<ServiceName>,
    reduce: Option<Reduce>,
    post: Option<String>,
    wait: Option<String>,
    remember: Option<String>,
    recall: Option<String>,
    subject: Option<String>,
    trust: Option<Trust>,
    limit: Option<usize>,
    private: Option<bool>,
    of: Option<String>,
    input: Option<String>,
    text: Option<String>,
    each: Option<String>,
    max_items: Option<u64>,
    min_items: Option<u64>,
    sellers: Option<u64>,
    quorum: Option<u64>,
    max_price: Option<u64>,
    deadline: Option<String>,
    seller: Option<String>,
    mint: Option<MintUrl>,
    mode: Option<HireMode>,
}

fn wrong(place: impl Into<String>, problem: impl Into<String>, hint: &'static str) -> FileError {
    FileError { place: place.into(), problem: problem.into(), hint }
}

impl Duty {
    /// Reads a duty's file, strictly: what can be told to be wrong before anything runs is told here.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn from_toml(text: &str) -> Result<Self, FileError> {
        if text.len() > MAX_FILE_BYTES {
            let problem = format!("it has {} bytes; {MAX_FILE_BYTES} are the most", text.len());
            return Err(wrong("the file", problem, "what is large belongs into a service"));
        }
        let written: Written = toml::from_str(text).map_err(|error| {
            let problem = error.to_string().trim_end().to_owned();
            wrong("the file", problem, "docs/duties.md has every field and an example")
        })?;
        if !is_name(&written.name) {
            let problem = format!("`{}` is no name of a duty", written.name.escape_default());
            return Err(wrong(
                "name",
                problem,
                "lower-case letters, digits and hyphens, 64 at the most: morning-digest",
            ));
        }
        if written.on.len() > MAX_TRIGGERS {
            let problem = format!("{} of them; {MAX_TRIGGERS} are the most", written.on.len());
            return Err(wrong("on", problem, "a cron pattern can name several times"));
        }
        let on = written.on.into_iter().map(Trigger::of).collect::<Result<Vec<_>, _>>()?;
        if written.step.is_empty() || written.step.len() > MAX_STEPS {
            let problem = format!("{} of them; from 1 to {MAX_STEPS} are to be there", written.step.len());
            return Err(wrong(
                "step",
                problem,
                "a step is a [[step]] with hire, run, verify, reduce, post, wait, remember or recall",
            ));
        }
        let mut steps = Vec::<Step>::new();
        for (at, step) in written.step.into_iter().enumerate() {
            let step = Step::of(step, at, &steps)?;
            steps.push(step);
        }
        let (name, description, overlap) = (written.name, written.description, written.overlap);
        let duty = Self { name, description, on, budget: written.budget, overlap, steps };
        duty.check_money()?;
        Ok(duty)
    }

    /// Whether what it buys can be paid by its budget, and is bounded.
    fn check_money(&self) -> Result<(), FileError> {
        let mut hires = 0_u64;
        for step in &self.steps {
            let (Action::Hire(work) | Action::Verify(work)) = &step.action else { continue };
            hires += work.most_hires();
            let place = format!("step {}", step.id);
            let Some(budget) = &self.budget else {
                let hint = "budget = { unit = \"sat\", run = 40, day = 100 }";
                return Err(wrong(place, "it buys something, and there is no budget", hint));
            };
            if let Some(price) = work.max_price {
                let all = price.saturating_mul(work.most_hires());
                if all > budget.run {
                    let problem = format!("it may cost {all}, and budget.run is {}", budget.run);
                    return Err(wrong(place, problem, "max_price × max_items × sellers is to be within budget.run"));
                }
            } else if work.most_hires() > budget.run {
                let problem = format!("it is {} hires, and budget.run is {}", work.most_hires(), budget.run);
                return Err(wrong(place, problem, "each hire costs at least 1"));
            }
        }
        if hires > MAX_RUN_HIRES {
            let problem = format!("a run may come to {hires} hires; {MAX_RUN_HIRES} are the most");
            return Err(wrong("step", problem, "lower max_items or sellers"));
        }
        match &self.budget {
            Some(budget) if budget.run == 0 || budget.day < budget.run => {
                let problem = format!("run is {}, day is {}", budget.run, budget.day);
                Err(wrong("budget", problem, "run is at least 1, and day at least as much as run"))
            }
            _ => Ok(()),
        }
    }

    /// Its schedules.
    pub fn schedules(&self) -> impl Iterator<Item = &Arc<Schedule>> {
        self.on.iter().filter_map(|trigger| match trigger {
            Trigger::Cron(schedule) => Some(schedule),
            _ => None,
        })
    }

    /// What happens in the node that sets it off.
    pub(super) fn events(&self) -> impl Iterator<Item = NodeTrigger> {
        self.on.iter().filter_map(|trigger| match trigger {
            Trigger::Event(event) => Some(*event),
            _ => None,
        })
    }
}

impl Trigger {
    fn of(written: WrittenTrigger) -> Result<Self, FileError> {
        let WrittenTrigger { cron, zone, missed, grace, hook, event } = written;
        let of_cron = zone.is_some() || missed.is_some() || grace.is_some();
        match (cron, hook, event) {
            (Some(cron), None, None) => {
                let grace = grace.map(|grace| duration("on: grace", &grace, u64::MAX)).transpose()?;
                let zone = zone.as_deref().unwrap_or("UTC");
                let schedule = Schedule::new(&cron, zone, missed.unwrap_or_default(), grace);
                let schedule = schedule.map_err(|error| wrong("on: cron", error.to_string(), error.hint()))?;
                Ok(Self::Cron(Arc::new(schedule)))
            }
            (None, Some(hook), event) if !of_cron => {
                if !is_name(&hook) {
                    let problem = format!("`{}` is no name of a hook", hook.escape_default());
                    return Err(wrong("on: hook", problem, "the name that `guilder hook add NAME --github` was given"));
                }
                Ok(Self::Hook { hook, event })
            }
            (None, None, Some(event)) if !of_cron => {
                let trigger = serde_json::from_value(serde_json::Value::String(event.clone()));
                trigger.map(Self::Event).map_err(|_| {
                    let hint = "task_delivered, task_failed, task_sold, money_received, mint_trouble or peer_penalized";
                    wrong("on: event", format!("`{}` is nothing that happens", event.escape_default()), hint)
                })
            }
            _ => {
                let hint = "{ cron, zone, missed, grace }, { hook, event } or { event }";
                Err(wrong("on", "an entry is a schedule, a hook or an event, and one of them", hint))
            }
        }
    }
}

impl Work {
    /// The most hires that it may come to.
    pub fn most_hires(&self) -> u64 {
        self.each.as_ref().map_or(1, |each| each.max_items).saturating_mul(self.sellers)
    }
}

impl Step {
    fn of(step: WrittenStep, at: usize, before: &[Self]) -> Result<Self, FileError> {
        let id = step.id.clone().unwrap_or_else(|| (at + 1).to_string());
        let place = format!("step {id}");
        let reserved = ["trigger", "run", "item"].contains(&id.as_str());
        if step.id.is_some() && (!is_step_id(&id) || reserved) || before.iter().any(|other| other.id == id) {
            let hint = "an ID of its own: a lower-case letter, then such letters, digits and underscores; not trigger, run or item";
            return Err(wrong("step", format!("`{}` can't be a step's ID", id.escape_default()), hint));
        }
        let plain = [
            ("of", &step.of),
            ("post", &step.post),
            ("each", &step.each),
            ("seller", &step.seller),
            ("remember", &step.remember),
            ("recall", &step.recall),
            ("subject", &step.subject),
        ];
        for (field, text) in plain {
            if text.as_ref().is_some_and(|text| text.contains("{{")) {
                let hint = "only input and text take gaps: what comes from outside decides nothing else";
                return Err(wrong(place, format!("`{field}` has a gap"), hint));
            }
        }
        if let Some(of) = &step.of
            && !before.iter().any(|other| other.id == *of)
        {
            return Err(wrong(
                place,
                format!("there is no step `{of}` before it"),
                "`of` names the ID of an earlier step",
            ));
        }
        let action = Action::of(step, &place, before)?;
        Ok(Self { id, action })
    }
}

impl Action {
    fn of(step: WrittenStep, place: &str, before: &[Step]) -> Result<Self, FileError> {
        let kinds = [
            step.hire.is_some(),
            step.run.is_some(),
            step.verify.is_some(),
            step.reduce.is_some(),
            step.post.is_some(),
            step.wait.is_some(),
            step.remember.is_some(),
            step.recall.is_some(),
        ];
        if kinds.iter().filter(|is| **is).count() != 1 {
            let hint = "exactly one of hire, run, verify, reduce, post, wait, remember and recall";
            return Err(wrong(place, "it isn't clear what it does", hint));
        }
        let is_work = step.hire.is_some() || step.run.is_some() || step.verify.is_some();
        let buys = step.hire.is_some() || step.verify.is_some();
        let many = step.hire.is_some() || step.run.is_some();
        let has = |field: &'static str, there: bool, may: bool| {
            if there && !may {
                let hint = "docs/duties.md says which fields go with which step";
                return Err(wrong(place, format!("`{field}` has no meaning in it"), hint));
            }
            Ok(())
        };
        has("each", step.each.is_some(), many)?;
        has("max_items", step.max_items.is_some(), step.each.is_some())?;
        has("min_items", step.min_items.is_some(), step.each.is_some())?;
        has("sellers", step.sellers.is_some(), step.hire.is_some())?;
        has("quorum", step.quorum.is_some(), step.hire.is_some())?;
        has("max_price", step.max_price.is_some(), buys)?;
        has("seller", step.seller.is_some(), buys)?;
        has("mint", step.mint.is_some(), buys)?;
        has("mode", step.mode.is_some(), buys)?;
        has("deadline", step.deadline.is_some(), is_work)?;
        let of_memory = step.remember.is_some() || step.recall.is_some();
        has("subject", step.subject.is_some(), of_memory)?;
        has("trust", step.trust.is_some(), step.recall.is_some())?;
        has("limit", step.limit.is_some(), step.recall.is_some())?;
        has("private", step.private.is_some(), step.recall.is_some())?;
        let takes_input = is_work || step.post.is_some() || of_memory;
        has("input", step.input.is_some(), takes_input)?;
        has("text", step.text.is_some(), takes_input)?;
        has("of", step.of.is_some(), step.wait.is_none())?;

        if let Some(how) = step.reduce {
            let hint = "of = \"ID\" names the step whose outputs are reduced";
            let of = step.of.ok_or_else(|| wrong(place, "`of` is missing", hint))?;
            let from = before.iter().find(|other| other.id == of).map(|other| &other.action);
            if !matches!(from, Some(Self::Hire(_) | Self::Run(_))) {
                return Err(wrong(
                    place,
                    format!("the step `{of}` has no outputs of several"),
                    "reduce a hire or a run",
                ));
            }
            return Ok(Self::Reduce { how, of });
        }
        if let Some(wait) = step.wait {
            return Ok(Self::Wait { secs: duration(&format!("{place}: wait"), &wait, MAX_WAIT_SECS)? });
        }
        let verified = step.of.clone().filter(|_| step.verify.is_some());
        if step.verify.is_some() && verified.is_none() {
            return Err(wrong(place, "`of` is missing", "of = \"ID\" names the step whose output is verified"));
        }
        let input = input(&step, place, before)?;
        if let Some(post) = &step.post {
            if input == Input::Nothing {
                return Err(wrong(place, "there is nothing to post", "one of input, text and of"));
            }
            return Ok(Self::Post { to: Target::of(post, place)?, body: input });
        }
        if of_memory {
            return Self::of_memory(step, place, input);
        }
        let work = work(&step, place, before, (input, verified))?;
        match (step.hire, step.run) {
            (Some(_), _) => Ok(Self::Hire(work)),
            (_, Some(_)) => Ok(Self::Run(work)),
            _ => Ok(Self::Verify(work)),
        }
    }
}

impl Action {
    fn of_memory(step: WrittenStep, place: &str, input: Input) -> Result<Self, FileError> {
        let WrittenStep { remember, recall, subject, trust, limit, private, .. } = step;
        let domain = remember.as_ref().or(recall.as_ref()).cloned().unwrap_or_default();
        if !is_domain(&domain) {
            let problem = format!("`{}` is no domain's name", domain.escape_default());
            return Err(wrong(place, problem, "small letters, digits, dots, dashes and underscores: suppliers"));
        }
        if subject.as_ref().is_some_and(|subject| !(1..=MAX_MEMORY_NAME).contains(&subject.len())) {
            return Err(wrong(place, "a subject has 1 to 128 bytes", "whom or what it tells of, in a few words"));
        }
        if input == Input::Nothing {
            return Err(wrong(place, "it has no words", "one of text, input and of"));
        }
        if remember.is_some() {
            return Ok(Self::Remember(Note { domain, subject, text: input }));
        }
        let limit = limit.unwrap_or(RECALLED);
        if !(1..=MAX_RECALLED).contains(&limit) {
            return Err(wrong(place, format!("limit is {limit}"), "from 1 to 100"));
        }
        let private = private.unwrap_or(false);
        Ok(Self::Recall(Asking { domain, question: input, subject, trust, limit, private }))
    }
}

fn work(
    step: &WrittenStep,
    place: &str,
    before: &[Step],
    (input, of): (Input, Option<String>),
) -> Result<Work, FileError> {
    let each = match (&step.each, step.max_items) {
        (None, _) => None,
        (Some(_), None) => {
            let hint = "what comes from outside never sets how much is bought";
            return Err(wrong(place, "`each` is without `max_items`", hint));
        }
        (Some(path), Some(max_items)) => {
            let parsed =
                Path::parse(path).map_err(|error| wrong(place, error.to_string(), "each = \"trigger.urls\""))?;
            check_root(&parsed, place, before, false)?;
            if max_items == 0 || max_items > MAX_RUN_HIRES {
                let problem = format!("max_items is {max_items}");
                return Err(wrong(place, problem, "from 1 to 200"));
            }
            Some(Each { path: parsed, max_items })
        }
    };
    let sellers = step.sellers.unwrap_or(1);
    let quorum = step.quorum.unwrap_or(sellers);
    if sellers == 0 || sellers > MAX_SELLERS || quorum == 0 || quorum > sellers {
        let problem = format!("sellers is {sellers}, quorum is {quorum}");
        return Err(wrong(place, problem, "sellers is from 1 to 5, and quorum from 1 to sellers"));
    }
    if step.seller.is_some() && sellers > 1 {
        return Err(wrong(place, "one seller can't be several", "leave `seller` out, or `sellers`"));
    }
    if step.max_price == Some(0) {
        return Err(wrong(place, "max_price is 0", "a hire costs at least 1; a service of your own is `run`"));
    }
    let seller = step.seller.as_deref().map(|text| {
        let parsed = text.parse().or_else(|_| AgentId::from_peer_id(text));
        parsed.map_err(|_| wrong(place, "`seller` is no peer", "a peer ID (12D3Koo…) or a DID (did:key:z6Mk…)"))
    });
    let deadline =
        step.deadline.as_deref().map(|text| duration(&format!("{place}: deadline"), text, MAX_DEADLINE_SECS));
    let service = step.hire.clone().or_else(|| step.run.clone()).or_else(|| step.verify.clone());
    Ok(Work {
        service: service.ok_or_else(|| wrong(place, "no service is named", "hire = \"text.summarize\""))?,
        input,
        each,
        sellers,
        quorum,
        min_items: step.min_items,
        max_price: step.max_price,
        deadline_secs: deadline.transpose()?,
        seller: seller.transpose()?,
        mint: step.mint.clone(),
        mode: step.mode,
        of,
    })
}

fn input(step: &WrittenStep, place: &str, before: &[Step]) -> Result<Input, FileError> {
    let read = |template: Result<Template, super::template::TemplateError>, field: &str| {
        let template = template.map_err(|error| {
            wrong(
                format!("{place}: {field}"),
                error.to_string(),
                "JSON whose strings may have gaps like {{trigger.url}}",
            )
        })?;
        for path in template.paths() {
            check_root(path, place, before, step.each.is_some())?;
        }
        Ok(template)
    };
    match (&step.input, &step.text, &step.of) {
        (Some(json), None, None) => Ok(Input::Json(read(Template::json(json), "input")?)),
        (None, Some(text), None) => Ok(Input::Text(read(Template::text(text), "text")?)),
        (Some(json), None, Some(_)) if step.verify.is_some() => Ok(Input::Json(read(Template::json(json), "input")?)),
        (None, Some(text), Some(_)) if step.verify.is_some() => Ok(Input::Text(read(Template::text(text), "text")?)),
        (None, None, Some(of)) => Ok(Input::Output(of.clone())),
        (None, None, None) => Ok(Input::Nothing),
        _ => Err(wrong(
            place,
            "its input is said twice",
            "one of input (JSON), text and of (all that a step has put out)",
        )),
    }
}

fn check_root(path: &Path, place: &str, before: &[Step], has_item: bool) -> Result<(), FileError> {
    let known = match path.root.as_str() {
        "trigger" | "run" => true,
        "item" => has_item,
        step => before.iter().any(|other| other.id == step),
    };
    if known {
        return Ok(());
    }
    let hint = "trigger, run, item (where there is `each`), or the ID of an earlier step";
    Err(wrong(place, format!("`{path}` names nothing that is there by then"), hint))
}

impl Target {
    fn of(text: &str, place: &str) -> Result<Self, FileError> {
        if let Some(file) = text.strip_prefix("file:") {
            let fits = |part: &str| {
                let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                !part.is_empty() && !part.starts_with('.') && part.len() <= 100 && part.chars().all(known)
            };
            if file.len() > 200 || !file.split('/').all(fits) {
                let hint =
                    "file:digests/today.json is a file in the home's posts folder: letters, digits, points, hyphens";
                return Err(wrong(place, format!("`{}` is no such file", file.escape_default()), hint));
            }
            return Ok(Self::File(file.to_owned()));
        }
        let url = url::Url::parse(text).ok().filter(|url| url.scheme() == "http" && is_local(url));
        match url {
            Some(url) if url.username().is_empty() && url.password().is_none() => Ok(Self::Url(url.to_string())),
            _ => {
                let hint = "http://127.0.0.1:PORT/path, or file:NAME for a file in the home's posts folder";
                Err(wrong(place, format!("nothing is posted to `{}`", text.escape_default()), hint))
            }
        }
    }
}

/// Whether a URL is on this machine, for sure: by its number, or by the one name that is always it.
fn is_local(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::File(name) => write!(f, "file:{name}"),
        }
    }
}

/// Whether a text can name a duty or a hook.
pub fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=64).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-')
}

fn is_step_id(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits)
}

/// Seconds, from `90s`, `10m`, `3h` or `2d`.
fn duration(place: &str, text: &str, most: u64) -> Result<u64, FileError> {
    let factor = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => 0,
    };
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let secs = digits.parse::<u64>().ok().filter(|_| factor > 0).and_then(|number| number.checked_mul(factor));
    match secs.filter(|secs| *secs > 0) {
        Some(secs) if secs <= most => Ok(secs),
        Some(_) => {
            Err(wrong(place, format!("`{text}` is too long"), "the most is a day for a deadline, a month for a wait"))
        }
        None => Err(wrong(place, format!("`{}` is no time", text.escape_default()), "90s, 10m, 3h or 2d")),
    }
}

impl NodeTrigger {
    /// Its name in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TaskDelivered => "task_delivered",
            Self::TaskFailed => "task_failed",
            Self::TaskSold => "task_sold",
            Self::MoneyReceived => "money_received",
            Self::MintTrouble => "mint_trouble",
            Self::PeerPenalized => "peer_penalized",
        }
    }
}

/// The steps that a step's output was made by, itself and those before it.
pub fn ancestry<'a>(steps: &'a [Step], id: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([id]);
    // Each names earlier ones alone: backwards, all that names a step has been seen before it.
    for step in steps.iter().rev() {
        if !found.contains(step.id.as_str()) {
            continue;
        }
        let (of, paths): (Vec<&str>, Vec<&Path>) = match &step.action {
            Action::Hire(work) | Action::Run(work) | Action::Verify(work) => {
                let each = work.each.iter().map(|each| &each.path);
                (work.input.steps(), work.input.paths().into_iter().chain(each).collect())
            }
            Action::Reduce { of, .. } => (vec![of], Vec::new()),
            Action::Post { body: input, .. }
            | Action::Remember(Note { text: input, .. })
            | Action::Recall(Asking { question: input, .. }) => (input.steps(), input.paths()),
            Action::Wait { .. } => continue,
        };
        let roots = paths.into_iter().map(|path| path.root.as_str()).filter(|root| steps.iter().any(|s| s.id == *root));
        found.extend(of.into_iter().chain(roots));
    }
    found
}

impl Input {
    fn steps(&self) -> Vec<&str> {
        match self {
            Self::Output(step) => vec![step],
            _ => Vec::new(),
        }
    }

    /// The paths of its gaps.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Json(template) | Self::Text(template) => template.paths(),
            Self::Output(_) | Self::Nothing => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;

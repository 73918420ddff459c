//! What can be done with memories: remember, recall, look where they are from, forget, take out and in.

pub mod types;

use std::collections::BTreeSet;

use cid::Cid;
use guilder_protocol::{
    cbor::sha256,
    identity::AgentId,
    limits::MAX_MEMORY_SOURCES,
    memory::{MemoryBody, Trust},
    time::Timestamp,
};
use serde::Serialize;

use self::types::{
    BriefView, DomainRequest, DomainView, DreamChange, DreamLine, DreamRequest, DreamView, ForgetRequest,
    ForgottenView, ImportRequest, ImportedView, LineageStep, MemoryFile, MemoryView, RecallQuery, RememberRequest,
    RememberedView,
};
use super::{
    Api, LISTED,
    caller::{Action, Caller},
    types::ApiError,
};
use crate::{
    limits::MAX_RECALLED,
    memory::{
        Brief, Change, Domain, DomainSettings, Dream, Fate, Forgotten, Imported, Link, MemoryError, NewMemory,
        Question, Recalled, Remembered, Selection, Session, Source,
    },
};

impl Api {
    /// Remembers something.
    ///
    /// # Errors
    /// If the caller may not, it breaks a rule, what it names isn't there, or the disk fails.
    pub async fn remember(&self, caller: &Caller, request: RememberRequest) -> Result<RememberedView, ApiError> {
        caller.may(Action::Remember)?;
        if request.sources.len() > MAX_MEMORY_SOURCES {
            return Err(MemoryError::TooManySources.into());
        }
        let sources = self.sources(caller, &request.sources).await?;
        let RememberRequest { text, domain, language, subject, time, session, sources: _, supersedes, trust } = request;
        let session = session.map_or(Session::OfCalls, Session::Named);
        let new = NewMemory { text, domain, language, subject, time, session, sources, supersedes, trust };
        let done = self.node().memory.remember(caller, vec![new]).await.map_err(of_memory)?;
        let done = done.into_iter().next().ok_or_else(|| ApiError::of(&MemoryError::NoQuestion))?;
        Ok(done.into())
    }

    /// What is named as sources: a task's receipt and its other side, a memory by the last letters of its ID.
    async fn sources(&self, caller: &Caller, named: &[String]) -> Result<Vec<Source>, ApiError> {
        let tails = named.iter().filter_map(|source| source.strip_prefix("memory:"));
        let mut memories: Vec<_> = tails.map(ToOwned::to_owned).collect();
        self.node().memory.complete(caller, &mut memories).await.map_err(of_memory)?;
        let (mut memories, mut sources) = (memories.into_iter(), Vec::new());
        for source in named {
            match source.split_once(':') {
                Some(("task", task)) => sources.extend(self.sources_of_task(caller, task).await?),
                Some(("memory", _)) => {
                    let id = memories.next().unwrap_or_default();
                    sources.push(format!("memory:{id}").parse()?);
                }
                _ => sources.push(source.parse()?),
            }
        }
        Ok(sources)
    }

    /// From what is to be forgotten: a source, or the ID of one alone; of a task its receipt, of a memory the last letters of its ID.
    async fn source_of(&self, caller: &Caller, named: &str) -> Result<Source, ApiError> {
        if let Some(id) = named.strip_prefix("task:") {
            let task = self.task(caller, id).await?;
            let receipt = task.receipt.as_deref().and_then(|id| id.parse().ok());
            return receipt.map(Source::Receipt).ok_or_else(|| {
                let hint = "its other side can be named: `guilder forget --help`";
                ApiError::misuse(format!("the task {id} has no receipt"), hint).about(task.id)
            });
        }
        if let Ok(agent) = named.parse().or_else(|_| AgentId::from_peer_id(named)) {
            return Ok(Source::Peer(agent));
        }
        if let Ok(receipt) = named.parse() {
            return Ok(Source::Receipt(receipt));
        }
        let tail = named.strip_prefix("memory:").or((named != "owner" && !named.contains(':')).then_some(named));
        let Some(tail) = tail else { return Ok(named.parse::<Source>()?) };
        let mut ids = vec![tail.to_owned()];
        self.node().memory.complete(caller, &mut ids).await.map_err(of_memory)?;
        Ok(format!("memory:{}", ids.concat()).parse::<Source>()?)
    }

    /// A task's receipt, and whose it is: so that all that came of either can be forgotten.
    async fn sources_of_task(&self, caller: &Caller, id: &str) -> Result<Vec<Source>, ApiError> {
        let task = self.task(caller, id).await?;
        let receipt = task.receipt.as_deref().and_then(|id| id.parse().ok()).map(Source::Receipt);
        let peer = task.peer.as_deref().and_then(|id| AgentId::from_peer_id(id).ok()).map(Source::Peer);
        let sources: Vec<_> = receipt.into_iter().chain(peer).collect();
        if sources.is_empty() {
            let message = format!("the task {id} has neither a receipt nor another side");
            return Err(ApiError::misuse(message, "name its source in words: world:…").about(task.id));
        }
        Ok(sources)
    }

    /// The memories that answer a question best.
    ///
    /// # Errors
    /// If the caller may not, nothing is asked, a domain isn't there, or the disk fails.
    pub async fn recall(&self, caller: &Caller, query: RecallQuery) -> Result<Vec<MemoryView>, ApiError> {
        caller.may(Action::Recall)?;
        let RecallQuery { query, domain, trust, subject, since, until, as_of, limit } = query;
        let limit = limit.unwrap_or(LISTED);
        let domains = listed(domain.as_deref());
        let question = Question { text: query, domains, trust, subject, since, until, as_of, limit };
        let found = self.node().memory.recall(caller, question).await.map_err(of_memory)?;
        Ok(found.into_iter().map(MemoryView::from).collect())
    }

    /// A memory, by its ID or the last letters of it.
    ///
    /// # Errors
    /// If the caller may not, there is none, or the disk fails.
    pub async fn memory(&self, caller: &Caller, id: &str) -> Result<MemoryView, ApiError> {
        caller.may(Action::Recall)?;
        Ok(self.node().memory.show(caller, id).await.map_err(of_memory)?.into())
    }

    /// What a memory was made of, down to the receipts.
    ///
    /// # Errors
    /// As [`Api::memory`].
    pub async fn lineage(&self, caller: &Caller, id: &str) -> Result<Vec<LineageStep>, ApiError> {
        caller.may(Action::Recall)?;
        let links = self.node().memory.lineage(caller, id).await.map_err(of_memory)?;
        let step = |Link { depth, source, memory }| LineageStep { depth, source, memory: memory.map(MemoryView::from) };
        Ok(links.into_iter().map(step).collect())
    }

    /// What was held instead of a memory, before and after.
    ///
    /// # Errors
    /// As [`Api::memory`].
    pub async fn memory_history(&self, caller: &Caller, id: &str) -> Result<Vec<MemoryView>, ApiError> {
        caller.may(Action::Recall)?;
        let all = self.node().memory.history(caller, id).await.map_err(of_memory)?;
        Ok(all.into_iter().map(MemoryView::from).collect())
    }

    /// The domains that the caller may read.
    ///
    /// # Errors
    /// If the caller may not, or the disk fails.
    pub async fn memory_domains(&self, caller: &Caller) -> Result<Vec<DomainView>, ApiError> {
        caller.may(Action::Recall)?;
        let domains = self.node().memory.domains(caller).await.map_err(of_memory)?;
        Ok(domains.into_iter().map(DomainView::from).collect())
    }

    /// Makes a domain, or says who may read and write it, and whether it is private.
    ///
    /// # Errors
    /// If the caller may not, the name is none, or the disk fails.
    pub async fn set_memory_domain(&self, caller: &Caller, request: DomainRequest) -> Result<DomainView, ApiError> {
        self.pass(caller, Action::SetDomain, &request).await?;
        let DomainRequest { name, language, readers, writers, private, keep_days } = request;
        let settings = DomainSettings { language, readers, writers, private, keep_days };
        let domain = self.node().memory.set_domain(caller, &name, settings).await.map_err(of_memory)?;
        Ok(domain.into())
    }

    /// Goes through what was remembered and what happened since the last time, and makes fewer and plainer memories of it.
    ///
    /// # Errors
    /// If the caller may not, it is being done already, or the disk fails: then nothing has changed.
    pub async fn dream(&self, caller: &Caller, request: DreamRequest) -> Result<DreamView, ApiError> {
        // What it would do shows every domain.
        self.pass(caller, Action::Dream, &request).await?;
        let dreamer = &self.node().dreamer;
        let done = if request.dry_run { dreamer.preview().await? } else { dreamer.dream().await? };
        Ok(done.into())
    }

    /// What an agent reads of a domain before it begins.
    ///
    /// # Errors
    /// If the caller may not, there is no such domain, or the disk fails.
    pub async fn brief(&self, caller: &Caller, domain: &str) -> Result<BriefView, ApiError> {
        caller.may(Action::Recall)?;
        let Brief { domain, lines, left_out } = self.node().memory.brief(caller, domain).await.map_err(of_memory)?;
        Ok(BriefView { domain, lines, left_out })
    }

    /// Forgets what is selected, so that no byte of it is left in the memory's file.
    ///
    /// # Errors
    /// If the caller may not, nothing or too much is named, it isn't there, or the disk fails.
    pub async fn forget(&self, caller: &Caller, request: ForgetRequest) -> Result<ForgottenView, ApiError> {
        let from = match &request.from {
            Some(named) => Some(self.source_of(caller, named).await?),
            None => None,
        };
        let mut selection = selection(&request, from)?;
        let is_many = !matches!(selection, Selection::Ids(_));
        match is_many {
            false => caller.may(Action::Forget)?,
            true if request.dry_run => caller.may(Action::Recall)?,
            true => self.may_ask(caller, Action::ForgetMany)?,
        }
        if let Selection::From(sources) = &mut selection {
            self.add_receipts(sources).await?;
        }
        if is_many && !request.dry_run && caller.may(Action::ForgetMany).is_err() {
            // What is approved is what is found now: of other memories it is another request.
            let found = self.node().memory.forget(caller, selection.clone(), true).await.map_err(of_memory)?;
            self.pass(caller, Action::ForgetMany, &ForgetTerms::of(&selection, &found.ids)).await?;
        }
        let done = self.node().memory.forget(caller, selection, request.dry_run).await.map_err(of_memory)?;
        let Forgotten { ids, derived_left, hold_again, receipts } = done;
        let mut copies = self.tasks_of(caller, receipts).await?;
        if !ids.is_empty() {
            copies.extend(COPIES.map(ToOwned::to_owned));
        }
        let named = |ids: Vec<Cid>| ids.iter().map(ToString::to_string).collect();
        Ok(ForgottenView { ids: named(ids), derived_left, hold_again: named(hold_again), copies })
    }

    /// The tasks that are kept here whose receipts these are, in words, as far as the caller may see tasks.
    async fn tasks_of(&self, caller: &Caller, receipts: BTreeSet<Cid>) -> Result<Vec<String>, ApiError> {
        if receipts.is_empty() || caller.may(Action::Look).is_err() {
            return Ok(Vec::new());
        }
        let awards = self.node().trade.awards_of(receipts, MAX_RECALLED).await?;
        let mut copies = Vec::new();
        for award in awards {
            if let Some(view) = self.node().trade.show(award)? {
                copies.push(format!("the output of the task {0}, which `guilder task show {0}` names", view.task));
            }
        }
        Ok(copies)
    }

    /// Beside each seller what it has signed for us: whoever remembered what it delivered may have named the receipt alone.
    async fn add_receipts(&self, sources: &mut Vec<Source>) -> Result<(), ApiError> {
        let peers = sources.iter().filter_map(|source| match source {
            Source::Peer(peer) => Some(*peer),
            _ => None,
        });
        let peers: Vec<_> = peers.collect();
        for peer in peers {
            sources.extend(self.node().trade.receipts_of(peer).await?.into_iter().map(Source::Receipt));
        }
        Ok(())
    }

    /// All of domains, for files.
    ///
    /// # Errors
    /// If the caller may not, there is no such domain, one of them is private and the caller isn't the owner, there is more than one
    /// request takes out, or the disk fails.
    pub async fn export_memory(&self, caller: &Caller, domains: Option<&str>) -> Result<Vec<MemoryView>, ApiError> {
        caller.may(Action::Recall)?;
        let (memory, mut named) = (&self.node().memory, listed(domains));
        if named.is_empty() {
            named = memory.domains(caller).await.map_err(of_memory)?.into_iter().map(|domain| domain.name).collect();
        }
        // No name stands for all of them.
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let all = match memory.all(caller, &named, caller.is_owner()).await {
            Err(MemoryError::IsPrivate(_)) => {
                self.pass(caller, Action::ExportPrivate, &named).await?;
                memory.all(caller, &named, true).await
            }
            all => all,
        };
        Ok(all.map_err(of_memory)?.into_iter().map(MemoryView::from).collect())
    }

    /// Takes memories in that were exported.
    ///
    /// # Errors
    /// If the caller may not, one of them is none, or the disk fails.
    pub async fn import_memory(&self, caller: &Caller, request: ImportRequest) -> Result<Vec<ImportedView>, ApiError> {
        let edited = request.edited.unwrap_or(Trust::World);
        match edited <= Trust::World {
            true => caller.may(Action::Remember)?,
            false => self.pass(caller, Action::ImportTrusted, &ImportTerms::of(&request)).await?,
        }
        let now = self.node().runtime.now();
        let file = |file: MemoryFile| {
            let MemoryFile { id, text, domain, language, trust, by, time, at, subject, session, sources, supersedes } =
                file;
            let ids = supersedes.iter().map(|id| id.parse()).collect::<Result<Vec<Cid>, _>>();
            let supersedes = ids.map_err(|_| ApiError::misuse("a memory supersedes what has no ID", "see its file"))?;
            let time = time.unwrap_or(now);
            let body = MemoryBody { text, domain, by, time, trust, subject, session, sources, supersedes };
            Ok::<_, ApiError>(Imported { id: id.and_then(|id| id.parse().ok()), at, language, body })
        };
        let files = request.memories.into_iter().map(file).collect::<Result<Vec<_>, _>>()?;
        let done = self.node().memory.import(caller, files, edited).await.map_err(of_memory)?;
        let view = |(done, fate): (Remembered, Fate)| ImportedView {
            id: done.id.to_string(),
            fate: word(fate).to_owned(),
            trust: done.trust,
        };
        Ok(done.into_iter().map(view).collect())
    }
}

/// What the owner approves of a forgetting: what was asked in words stays out of the node's other file, as it may say what is forgotten.
#[derive(Debug, Serialize)]
struct ForgetTerms {
    /// By what they are found.
    by: &'static str,
    domains: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Timestamp>,
    /// How many there are.
    memories: usize,
    /// The first of their content IDs, to look at.
    ids: Vec<String>,
    /// Of all of them: in hexadecimal digits, SHA-256.
    digest: String,
}

impl ForgetTerms {
    fn of(what: &Selection, found: &[Cid]) -> Self {
        let (by, domains, from, before) = match what {
            Selection::Ids(_) => ("ids", Vec::new(), None, None),
            Selection::Query(question) => ("query", question.domains.clone(), None, None),
            Selection::Domain(name) => ("domain", vec![name.clone()], None, None),
            Selection::From(sources) => {
                let named = sources.first().filter(|source| !matches!(source, Source::World(_)));
                ("from", Vec::new(), named.map(ToString::to_string), None)
            }
            Selection::Before(time, domains) => ("before", domains.clone(), None, Some(*time)),
        };
        let all: Vec<_> = found.iter().flat_map(Cid::to_bytes).collect();
        let ids = found.iter().take(MAX_RECALLED).map(ToString::to_string).collect();
        Self { by, domains, from, before, memories: found.len(), ids, digest: hex::encode(sha256(&all)) }
    }
}

/// What the owner approves of an import: the texts stay out of the node's other file, from which nothing is forgotten.
#[derive(Debug, Serialize)]
struct ImportTerms {
    /// The trust of what was edited.
    edited: Option<Trust>,
    /// How many there are, and where.
    memories: usize,
    domains: BTreeSet<String>,
    /// Of the whole request: in hexadecimal digits, SHA-256.
    digest: String,
}

impl ImportTerms {
    fn of(request: &ImportRequest) -> Self {
        let digest = hex::encode(sha256(&serde_json::to_vec(request).unwrap_or_default()));
        let domains = request.memories.iter().map(|memory| memory.domain.clone()).collect();
        Self { edited: request.edited, memories: request.memories.len(), domains, digest }
    }
}

/// Where copies may be left of what was forgotten.
const COPIES: [&str; 4] = [
    "inputs and outputs of tasks, if it came from or went into one",
    "backups of the home folder, and snapshots of its file system",
    "files that were exported",
    "whatever recalled it before: programs, conversations, logs",
];

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "kept",
        Fate::Restored => "restored",
        Fate::Edited => "edited",
        Fate::Forgotten => "forgotten",
    }
}

fn listed(domains: Option<&str>) -> Vec<String> {
    let named = domains.into_iter().flat_map(|domains| domains.split(','));
    named.map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

/// What a request means, which names one thing.
fn selection(request: &ForgetRequest, from: Option<Source>) -> Result<Selection, ApiError> {
    let ForgetRequest { ids, query, domain, from: _, before, limit, dry_run: _ } = request;
    let domains = || domain.iter().cloned().collect();
    let selection = match (ids.is_empty(), query, from, before, domain) {
        (false, None, None, None, None) => Selection::Ids(ids.clone()),
        (true, Some(query), None, None, _) => Selection::Query(Question {
            text: query.clone(),
            domains: domains(),
            limit: limit.unwrap_or(LISTED),
            ..Question::default()
        }),
        (true, None, Some(from), None, None) => Selection::From(vec![from]),
        (true, None, None, Some(before), _) => Selection::Before(*before, domains()),
        (true, None, None, None, Some(domain)) => Selection::Domain(domain.clone()),
        (true, None, None, None, None) => return Err(MemoryError::ForgetWhat.into()),
        _ => {
            let hint =
                "name IDs, or one of --query, --domain, --from and --before; --domain may narrow --query and --before";
            return Err(ApiError::misuse("it names several things that are to be forgotten", hint));
        }
    };
    Ok(selection)
}

fn of_memory(error: MemoryError) -> ApiError {
    match error {
        MemoryError::NoMemory(_) | MemoryError::NoDomain(_) => {
            let hint = guilder_protocol::fault::AtFault::hint(&error).unwrap_or_default();
            ApiError::missing(error.to_string(), hint)
        }
        error => error.into(),
    }
}

impl From<Dream> for DreamView {
    fn from(dream: Dream) -> Self {
        let line = |(id, trust, text): (Cid, Trust, String)| DreamLine { id: Some(id.to_string()), trust, text };
        let change = |Change { kind, domain, old, new, .. }: Change| DreamChange {
            kind,
            domain,
            old: old.into_iter().map(line).collect(),
            new: new.map(|(trust, text)| DreamLine { id: None, trust, text }),
        };
        let Dream { memories, episodes, changes, .. } = dream;
        Self { memories, episodes, changes: changes.into_iter().map(change).collect() }
    }
}

impl From<Remembered> for RememberedView {
    fn from(done: Remembered) -> Self {
        let Remembered { id, domain, trust, session, is_new } = done;
        Self { id: id.to_string(), domain, trust, session, is_new }
    }
}

impl From<Recalled> for MemoryView {
    fn from(recalled: Recalled) -> Self {
        let Recalled { id, body, at, ended, score } = recalled;
        let MemoryBody { text, domain, by, time, trust, subject, session, sources, supersedes } = body;
        Self {
            id: id.to_string(),
            text,
            domain,
            trust,
            by,
            time,
            at,
            ended,
            subject,
            session,
            sources,
            supersedes: supersedes.iter().map(ToString::to_string).collect(),
            score: (score * 1000.0).round() as u64,
        }
    }
}

impl From<MemoryView> for MemoryFile {
    fn from(view: MemoryView) -> Self {
        let MemoryView { id, text, domain, trust, by, time, at, subject, session, sources, supersedes, .. } = view;
        let (id, time, at) = (Some(id), Some(time), Some(at));
        Self { id, text, domain, language: None, trust, by, time, at, subject, session, sources, supersedes }
    }
}

impl From<Domain> for DomainView {
    fn from(domain: Domain) -> Self {
        let Domain { name, language, readers, writers, private, keep_days, by, made, memories, .. } = domain;
        let plain = |names: Vec<String>| {
            let of = |name: String| name.strip_prefix("caller/").map_or(name.clone(), ToOwned::to_owned);
            names.into_iter().map(of).collect()
        };
        Self {
            name,
            language,
            readers: plain(readers),
            writers: plain(writers),
            private,
            keep_days,
            by,
            made,
            memories,
        }
    }
}

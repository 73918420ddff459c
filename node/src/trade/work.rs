//! A seller's work on one trade: its input fetched, the service run, the output committed to.

use guilder_protocol::{
    bytes::{ByteArray, Digest},
    content::ContentId,
    fault::AtFault as _,
    limits::MAX_CONTENT,
    receipt::{Commitment, FailureCode, Salt, TaskError},
    seal::{Cipher, MAX_SEALED_OUTPUT, SealKey, Sealed, Sealer},
    trade::Deal,
    ucan::chain,
    wire::{self, Payload},
};

use cid::Cid;

use super::{
    hire::Under,
    journal::Journal,
    limits::FETCH_RETRY,
    open::OpenTrades,
    outbox::Outbox,
    outlays,
    records::{WORK, WorkFailure, WorkNote, key},
    task_keys::{Issued, TaskKeys},
    transfers::Transfers,
};
use crate::{
    catalogue::Catalogue,
    content::{ContentError, Data, Pin},
    events::{Event, Events, Side},
    executor::{ExecError, ProgressReport, Service, clipped},
    failpoint::Step,
    grants::KnownRevocations,
    runtime::Runtime,
};

/// What came of the work, or of the fetch before it.
#[derive(Debug)]
pub(super) struct Worked(pub(super) Result<Done, TaskError>);

/// An output, and what its receipt says of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) salt: Salt,
    pub(super) commitment: Digest,
    /// In escrow it is sealed.
    pub(super) output: Data,
    pub(super) sealed: Option<Sealed>,
}

/// Where work is done. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Workshop {
    pub(super) runtime: Runtime,
    pub(super) journal: Journal,
    pub(super) transfers: Transfers,
    pub(super) open: OpenTrades,
    pub(super) outbox: Outbox,
    pub(super) events: Events,
    pub(super) revocations: KnownRevocations,
    pub(super) task_keys: TaskKeys,
    pub(super) catalogue: Catalogue,
}

impl Workshop {
    /// Fetches the input until it is here, can't be had, or the actor gives up at the deadline.
    pub(super) async fn fetch_input(&self, deal: &Deal, id: ContentId) -> Result<Pin, TaskError> {
        let (mut wait, longest) = FETCH_RETRY;
        loop {
            match self.transfers.fetch(deal.buyer(), id, id.size).await {
                Ok(pin) => return Ok(pin),
                Err(error @ (ContentError::Wrong(_) | ContentError::TooLarge { .. })) => {
                    return Err(TaskError { code: FailureCode::InputMissing, text: error.to_string() });
                }
                Err(error) => tracing::debug!(trade = %deal.id(), %error, "input not fetched; trying again"),
            }
            tokio::time::sleep(wait).await;
            wait = longest.min(wait * 2);
        }
    }

    /// Runs the service once it has a place, unless the buyer's authority was revoked until then, and seals its output with
    /// `seal` if there is one.
    pub(super) async fn run(
        &self,
        deal: &Deal,
        service: Option<Service>,
        seal: Option<SealKey>,
    ) -> Result<Done, TaskError> {
        let Some(service) = service else {
            return Err(TaskError { code: FailureCode::Internal, text: "the service is no longer offered".into() });
        };
        let input = match &deal.input {
            Payload::Inline(bytes) => Data::Inline(bytes.to_vec().into()),
            Payload::Content(id) => Data::Stored(self.transfers.pin(*id)),
            Payload::Other(form) => {
                let text = format!("not understood: an input as {form}");
                return Err(TaskError { code: FailureCode::InputMissing, text });
            }
        };
        let slot = service.reserve().await;
        // The last moment: what has begun is finished and paid for.
        if let Some((link, revoker)) = chain::revoked(&deal.chain, &self.revocations) {
            let text = format!("{} revoked the delegation {}", revoker.peer_id(), deal.chain[link].cid());
            return Err(TaskError { code: FailureCode::Revoked, text });
        }
        let key = self.task_key(deal, &service).await;
        let (mut work, mut reports) = service.work(deal.id(), deal.buyer(), input).reported();
        work.access = key.as_ref().map(Issued::access);
        let output = reports.during(service.run(slot, work), |report| self.tell(deal, report)).await;
        drop(key);
        self.keep_note(deal.id(), reports.log(), output.as_ref().err()).await;
        if let Err(error) = &output {
            self.catalogue.note_failure(&service, error).await;
        }
        let output = output.map_err(|error| {
            tracing::info!(trade = %deal.id(), %error, "the work failed");
            TaskError { code: error.code(), text: clipped(error.public_text()) }
        })?;
        let salt = ByteArray(self.runtime.random());
        let unhandled = |error: ContentError| {
            tracing::error!(trade = %deal.id(), %error, "an output could not be read back");
            TaskError { code: FailureCode::Internal, text: "the seller's node could not handle the output".into() }
        };
        let Some(key) = seal else {
            let commitment = self.commit(&salt, &output).await.map_err(unhandled)?;
            return Ok(Done { salt, commitment, output, sealed: None });
        };
        if output.size() > MAX_SEALED_OUTPUT {
            let text = format!("an output in escrow is at most {MAX_SEALED_OUTPUT} bytes");
            return Err(TaskError { code: FailureCode::OutputTooLarge, text });
        }
        let (commitment, sealed) = self.seal(&key, &salt, &output).await.map_err(unhandled)?;
        let named = Sealed { aead: Cipher::ChaCha20Poly1305Stream, ciphertext: sealed.id() };
        Ok(Done { salt, commitment, output: sealed, sealed: Some(named) })
    }

    /// What the work calls this node with, if it may subcontract: its buyer lets it, so does the service's own file, and what it
    /// may cost is covered.
    async fn task_key(&self, deal: &Deal, service: &Service) -> Option<Issued> {
        let own = service.definition().subcontract.as_ref()?;
        let covered = self.journal.read(|r| outlays::covered(r, deal, own));
        let budget = covered.unwrap_or_else(|error| {
            tracing::error!(trade = %deal.id(), %error, "what a task may subcontract can't be read; it gets no key");
            None
        })?;
        let under = Under { award: deal.id(), services: own.services.clone(), budget };
        self.task_keys.issue(under, &self.runtime).await
    }

    /// The commitment to an output, and the output sealed, piece by piece.
    async fn seal(&self, key: &SealKey, salt: &Salt, output: &Data) -> Result<(Digest, Data), ContentError> {
        let too_large = |_| ContentError::TooLarge { limit_bytes: MAX_SEALED_OUTPUT };
        let (mut sealer, mut sealed) = (Sealer::new(key, salt), Vec::new());
        let mut collector = self.transfers.collector(MAX_CONTENT);
        let mut pieces = self.transfers.pieces(output).await?;
        while let Some(piece) = pieces.next().await? {
            sealer.update(&piece, &mut sealed).map_err(too_large)?;
            collector.push(&sealed).await?;
            sealed.clear();
        }
        let commitment = sealer.finish(&mut sealed).map_err(too_large)?;
        collector.push(&sealed).await?;
        Ok((commitment, collector.finish().await?))
    }

    fn tell(&self, deal: &Deal, ProgressReport { permille, note, partial }: ProgressReport) {
        let (task, trade) = (deal.award.args().task, deal.id());
        let said = wire::Progress { award: trade, permille, note: note.unwrap_or_default(), partial };
        self.open.note_progress(trade, &said);
        let (note, partial) = (said.note.clone(), said.partial.clone());
        self.events.emit(Event::Progress { task, trade, side: Side::Seller, permille, note, partial });
        self.outbox.send(deal.buyer(), &said.into());
    }

    /// Keeps what concerns the operator alone. The trade goes on without it.
    async fn keep_note(&self, trade: Cid, stderr: String, error: Option<&ExecError>) {
        let told = |error: &ExecError| WorkFailure { reason: error.own_text(), hint: error.hint().map(Into::into) };
        let note = WorkNote { stderr, failure: error.map(told) };
        if note == WorkNote::default() {
            return;
        }
        let kept = self.journal.commit(Step::Other, move |w| w.put(WORK, key(trade), &note)).await;
        if let Err(error) = kept {
            tracing::warn!(%trade, %error, "what the operator is to know of a work could not be kept");
        }
    }

    async fn commit(&self, salt: &Salt, output: &Data) -> Result<Digest, ContentError> {
        let mut commitment = Commitment::new(salt);
        let mut pieces = self.transfers.pieces(output).await?;
        while let Some(piece) = pieces.next().await? {
            commitment.update(&piece);
        }
        Ok(commitment.finish())
    }
}

//! The mint that a node can host, for itself and for any wallet that reaches it.
//!
//! ```text
//!  peers ── /guilder/mint/1 ── serve ─┐
//!  wallets ── HTTP ─────────── http ──┼─▶ idempotent ──────▶ cdk-axum ──▶ cdk mint ┬─ SQLite file (WAL, synced)
//!  our own wallet ── Exchange ────────┘   repeats answered   NUT paths             └─ payment backend (play money)
//! ```
//!
//! All three ways lead through one router, so a mint says the same however it is asked. The room's rules:
//!
//! - **No request is half done.** cdk's swaps and melts run over several transactions and are put right only when a
//!   mint starts. So a request, once read whole, runs in a task of its own: a caller that hangs up stops nothing.
//! - **A repeated request gets its answer again**: signatures from NUT-09's table, a melt from its
//!   quote. Nothing is kept in memory for it, so it holds across a crash.
//! - **Bounds**: requests at work ([`limits::MAX_READING`], and one that may change the books) and waiting
//!   ([`limits::MAX_WAITING`]), bytes of each and of all large ones together ([`limits::BODIES`]), proofs of each, and for each peer
//!   a rate in bytes. Over the first and the last a caller waits; a request that is too large, or finds too many waiting, is
//!   refused. Unpaid quotes are bounded in number and deleted once they have run out ([`quotes`]).
//! - **Crashes.** cdk-sqlite opens the file with `journal_mode = WAL` and `synchronous = FULL`: a commit survives a
//!   power cut. On start cdk's sagas undo half-done swaps and settle half-done melts. The backend for play money
//!   keeps no state at all (see [`play`]).
//!
//! cdk's own clock is the system's; a hosted mint is not part of the simulated world, which has its own model mint.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    extract::{Request as HttpRequest, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use cdk::{
    mint::{Mint, MintBuilder, MintMeltLimits, UnitConfig},
    nuts::{CurrencyUnit, PaymentMethod, nut17},
    types::QuoteTTL,
};
use cdk_common::{database::KVStore, nut00::KnownMethod, payment::DynMintPayment};
use cdk_sqlite::MintSqliteDatabase;
use guilder_protocol::{
    fault::{AtFault, Fault},
    limits::MAX_MINT_FRAME,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};
use tower_service::Service;

use crate::{
    failpoint::{Failpoint, Step},
    http_server,
    keys::HomeError,
    runtime::{Job, Runtime},
    spans::Span,
    wallet::connector::{
        Exchange, ExchangeError,
        frames::{Method, Reply, Request},
    },
};

mod bodies;
mod config;
mod idempotent;
pub mod limits;
mod play;
mod quotes;
mod rate;
mod serve;
#[cfg(test)]
mod tests;
mod used;
mod witness;

pub use config::{Backend, MintConfig, MintUnit};
pub use serve::ServeError;

/// The file in the mint's folder that holds its books.
const FILE: &str = "mint.sqlite";

/// A running mint. Cheap to clone; every clone is the same mint.
#[derive(Clone)]
pub struct HostedMint {
    mint: Arc<Mint>,
    router: Router,
    peers: Arc<rate::Peers>,
    bodies: Arc<bodies::Bodies>,
    closing: watch::Sender<bool>,
    suspension: Arc<used::Suspension>,
    failpoint: Failpoint,
    runtime: Runtime,
    /// The file with its books.
    file: Arc<Path>,
    #[cfg(test)]
    quotes: Arc<quotes::Quotes>,
}

/// Where the books are of the mint whose folder this is.
pub(crate) fn books(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

impl HostedMint {
    /// Opens the mint whose books are in `folder`, or begins it there. `seed` is the secret that all its keys come
    /// from: whoever has it can print the mint's money.
    ///
    /// # Errors
    /// If the configuration makes no mint, the file can't be used, or it belongs to another seed.
    pub async fn open(folder: &Path, config: &MintConfig, seed: &[u8], runtime: &Runtime) -> Result<Self, MintError> {
        config.check()?;
        tokio::fs::create_dir_all(folder).await.map_err(MintError::Folder)?;
        let file = books(folder);
        let path = file.to_str().ok_or(MintError::Path)?;
        let database = Arc::new(MintSqliteDatabase::new(path).await?);
        claim(database.as_ref(), seed).await?;
        let key = play::PlayKey::new(seed);

        let mut builder = MintBuilder::new(database.clone())
            .with_name(config.name.clone())
            .with_description(config.description.clone())
            .with_limits(limits::MAX_INPUTS, limits::MAX_OUTPUTS);
        for unit in &config.units {
            add_unit(&mut builder, unit, backend(unit, &key, runtime)).await?;
        }
        let mint = Arc::new(builder.build_with_seed(database, seed).await?);
        mint.set_quote_ttl(QuoteTTL::new(config.quote_ttl_secs, config.quote_ttl_secs)).await?;
        let mut info = mint.mint_info().await?;
        info.nuts.nut17 = nut17::SupportedSettings::default();
        mint.set_mint_info(info).await?;
        mint.start().await?;

        let suspension = Arc::<used::Suspension>::default();
        let changing = Arc::new(Semaphore::new(1));
        let quotes = Arc::new(quotes::Quotes::new(file.clone(), Arc::clone(&changing), runtime.clone()));
        quotes.sweep(quotes::now()).await?;
        runtime.spawn("mint quotes", Arc::clone(&quotes).keep_sweeping()).detach();
        let (books, suspended) = (Arc::clone(&mint), Arc::clone(&suspension));
        let asked = Arc::clone(&quotes);
        let router = idempotent::router(books, key, runtime.clone(), suspended, asked, changing).await?;
        Ok(Self {
            mint,
            router,
            peers: Arc::default(),
            bodies: Arc::default(),
            closing: watch::Sender::new(false),
            suspension,
            failpoint: Failpoint::default(),
            runtime: runtime.clone(),
            file: file.into(),
            #[cfg(test)]
            quotes,
        })
    }

    /// The same with a failpoint around each swap that a node asks for.
    #[must_use]
    pub(crate) fn failing(self, failpoint: Failpoint) -> Self {
        Self { failpoint, ..self }
    }

    /// Serves wallets over HTTP until the mint is stopped. Plain HTTP: put a TLS proxy before a public address.
    pub async fn http(&self, listener: TcpListener) {
        let router = self.router.clone().layer(from_fn_with_state(Arc::clone(&self.bodies), bounded));
        http_server::serve(listener, router, |_| true, self.closing.subscribe()).await;
    }

    /// Stops the mint's background work and its servers. Requests at work end first.
    pub async fn stop(&self) {
        self.closing.send_replace(true);
        if let Err(error) = self.mint.stop().await {
            tracing::warn!(%error, "the mint did not stop cleanly; it puts itself right when it starts");
        }
    }

    /// Copies its books as they are at one instant into a new file in `folder`, while it works on.
    ///
    /// # Errors
    /// If there are books, or the disk fails.
    pub async fn copy_books(&self, folder: &Path) -> Result<(), MintError> {
        let (from, to) = (self.file.clone(), books(folder));
        let copying = move || {
            let to = to.to_str().ok_or(MintError::Path)?;
            let connection = rusqlite::Connection::open(&*from)?;
            connection.busy_timeout(limits::COPY_PATIENCE)?;
            connection.execute("VACUUM INTO ?1", [to])?;
            Ok(())
        };
        self.runtime.offload(Job::Disk, copying).await
    }

    /// What this mint has signed and taken back, per unit: outstanding is the difference.
    ///
    /// # Errors
    /// If the books can't be read.
    pub async fn totals(&self) -> Result<Vec<Totals>, MintError> {
        let (issued, redeemed) = (self.mint.total_issued().await?, self.mint.total_redeemed().await?);
        let mut totals = std::collections::BTreeMap::<String, Totals>::new();
        for keyset in self.mint.keysets().keysets {
            let unit = keyset.unit.to_string();
            let total = totals.entry(unit.clone()).or_insert(Totals { unit, issued: 0, redeemed: 0 });
            total.issued += issued.get(&keyset.id).map_or(0, |amount| amount.to_u64());
            total.redeemed += redeemed.get(&keyset.id).map_or(0, |amount| amount.to_u64());
        }
        Ok(totals.into_values().collect())
    }

    /// Begins a new keyset, as a change of the fee does.
    #[cfg(test)]
    pub(crate) async fn rotate(&self, unit: &str, input_fee_ppk: u64) -> Result<(), MintError> {
        let currency = CurrencyUnit::from_str(unit).map_err(|_| MintError::Unit(unit.into()))?;
        let amounts = (0..limits::AMOUNTS).map(|power| 1 << power).collect();
        self.mint.rotate_keyset(currency, amounts, input_fee_ppk, true, None).await?;
        Ok(())
    }

    async fn answer(&self, request: Request) -> Result<Reply, ExchangeError> {
        let _took = Span::Mint.begin();
        let method = match request.method {
            Method::Get => axum::http::Method::GET,
            Method::Post => axum::http::Method::POST,
            // Of a later version: its caller can tell from the status, and the stream goes on.
            Method::Other(_) => return Ok(Reply::error(405, "a method that this mint doesn't know")),
        };
        let is_swap = request.path == "/v1/swap";
        let call = axum::http::Request::builder()
            .method(method)
            .uri(request.path)
            .header(axum::http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(request.body))
            .map_err(|error| ExchangeError::Malformed(error.to_string()))?;
        if is_swap {
            [Step::ActSwap, Step::AmidSwap].into_iter().for_each(|step| self.failpoint.reach(step));
        }
        let response = self.router.clone().call(call).await.unwrap_or_else(|never| match never {});
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), MAX_MINT_FRAME - 2).await;
        let body = body.map_err(|error| ExchangeError::Lost(error.to_string()))?;
        if is_swap {
            self.failpoint.reach(Step::AnswerSwap);
        }
        Ok(Reply { status, body: body.into() })
    }
}

/// Takes a request over HTTP in whole, in room of its own and in bounded time.
async fn bounded(State(bodies): State<Arc<bodies::Bodies>>, request: HttpRequest, next: Next) -> Response {
    let refusal = |status: StatusCode| Reply::error(status.as_u16(), "the request is too long or too slow");
    let (parts, body) = request.into_parts();
    let claimed = HttpBody::size_hint(&body).exact().unwrap_or(MAX_MINT_FRAME as u64);
    let reading = async {
        let claimed = usize::try_from(claimed).ok().filter(|claimed| *claimed <= MAX_MINT_FRAME);
        let claimed = claimed.ok_or(StatusCode::PAYLOAD_TOO_LARGE)?;
        let mut room = bodies.admit(claimed).await;
        let body = room.fill(to_bytes(body, MAX_MINT_FRAME)).await.ok_or(StatusCode::REQUEST_TIMEOUT)?;
        Ok((body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?, room))
    };
    let read = timeout(limits::FRAME_TIMEOUT, reading).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT));
    match read {
        // The room is kept until the request is answered.
        Ok((body, _room)) => next.run(HttpRequest::from_parts(parts, Body::from(body))).await,
        Err(status) => (status, refusal(status).body).into_response(),
    }
}

/// Our own wallet's way: no stream, no copy of the money in flight.
#[async_trait]
impl Exchange for HostedMint {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        self.answer(request).await
    }
}

impl fmt::Debug for HostedMint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostedMint")
    }
}

/// The mint's books in one unit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[schema(as = MintBooks)]
pub struct Totals {
    /// `sat`, `play`, …
    pub unit: String,
    /// Signed since the mint began.
    pub issued: u64,
    /// Taken back.
    pub redeemed: u64,
}

/// The payment backend of `unit`. Lightning's will be further arms.
fn backend(unit: &MintUnit, key: &play::PlayKey, runtime: &Runtime) -> DynMintPayment {
    match unit.backend {
        Backend::Play => Arc::new(play::PlayMoney::new(key.clone(), unit.pays_itself_after_secs, runtime.clone())),
    }
}

async fn add_unit(builder: &mut MintBuilder, unit: &MintUnit, backend: DynMintPayment) -> Result<(), MintError> {
    let currency = CurrencyUnit::from_str(unit.unit.as_str()).map_err(|_| MintError::Unit(unit.unit.to_string()))?;
    let amounts = (0..limits::AMOUNTS).map(|power| 1 << power).collect();
    builder.configure_unit(currency.clone(), UnitConfig { amounts, input_fee_ppk: unit.input_fee_ppk })?;
    let amounts = MintMeltLimits::new(unit.min_amount, unit.max_amount);
    builder.add_payment_processor(currency, PaymentMethod::Known(KnownMethod::Bolt11), amounts, backend).await?;
    Ok(())
}

/// Marks new books as this seed's, or finds that they are. Under another seed cdk would go on with other keys under
/// the old keysets' names, and print money that nobody takes.
async fn claim(books: &MintSqliteDatabase, seed: &[u8]) -> Result<(), MintError> {
    let mark = play::mark(seed);
    let mut change = KVStore::begin_transaction(books).await?;
    let marked = match change.kv_read("guilder", "mint", "seed").await? {
        Some(found) => found == mark,
        None => change.kv_write("guilder", "mint", "seed", &mark).await.map(|()| true)?,
    };
    change.commit().await?;
    if marked { Ok(()) } else { Err(MintError::WrongSeed) }
}

/// Why a mint doesn't open or stops.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The configuration can't be a mint's.
    #[error("the mint's configuration is wrong: {0}")]
    Config(&'static str),
    /// cdk has no such unit.
    #[error("no mint can have the unit {0}")]
    Unit(String),
    /// The home folder's name is no text.
    #[error("the mint's folder has a name that is not UTF-8")]
    Path,
    /// The folder can't be made.
    #[error("the mint's folder can't be made: {0}")]
    Folder(#[source] std::io::Error),
    /// What the keys have signed can't be noted.
    #[error(transparent)]
    Used(#[from] HomeError),
    /// SQLite can't open or read the file.
    #[error("the mint's books can't be opened: {0}")]
    Database(#[from] cdk_common::database::Error),
    /// SQLite can't change the file.
    #[error("the mint's books can't be swept: {0}")]
    Sweep(#[from] rusqlite::Error),
    /// The keys of the books don't come from this seed.
    #[error("the mint's books were written with another recovery phrase")]
    WrongSeed,
    /// The HTTP paths can't be laid out.
    #[error("the mint's HTTP interface can't be built: {0}")]
    Router(String),
    /// cdk's mint fails.
    #[error("the mint fails: {0}")]
    Cdk(#[from] cdk::Error),
}

impl AtFault for MintError {
    fn fault(&self) -> Fault {
        match self {
            Self::Config(_) | Self::Unit(_) | Self::Path | Self::WrongSeed => Fault::Ours,
            Self::Used(error) => error.fault(),
            Self::Folder(_) | Self::Database(_) | Self::Sweep(_) | Self::Router(_) | Self::Cdk(_) => Fault::Environment,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Used(error) => error.hint(),
            Self::Config(_) | Self::Unit(_) => Some("see [mint] in the config file"),
            Self::WrongSeed => Some("restore the phrase that the mint began with, or move its file away to begin anew"),
            Self::Database(_) | Self::Sweep(_) => Some("is the disk full, or another node at work on this home?"),
            _ => None,
        }
    }
}

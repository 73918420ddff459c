//! `guilder backup FILE`, and what a backup is: a tar archive of a home.
//!
//! ```text
//! guilder-backup.json   what it is of: version, peer ID, when
//! config.toml …         every file of the home but those that belong to a running daemon, under its name
//! guilder-backup.sums   the SHA-256 of each file before it: without it the archive is cut off
//! ```
//!
//! Of a running node the store and the hosted mint's books are copies that the node made, each of one instant: the store first, so that
//! the mint knows of every coin in it. Contents are files that never change; one that goes away meanwhile belongs to a task that is over.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use guilder_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Context, wait_for};
use crate::{
    api::types::Snapshot,
    console::{CliError, Exit, Show, fields},
    daemon::hold,
    keys::{Home, SecretFile},
    mint,
};

const EXAMPLES: &str = "\
\x1b[1;4mExamples:\x1b[0m
  guilder backup ~/guilder-2026-11-29.tar
  guilder restore ~/guilder-2026-11-29.tar              there, where no node is yet";

/// The first file of an archive.
pub(super) const MANIFEST: &str = "guilder-backup.json";
/// The last one.
pub(super) const SUMS: &str = "guilder-backup.sums";
/// Files of the home that are written all the time, of which a running node makes copies.
const STORES: [&str; 2] = ["memory.redb", "node.redb"];
/// The form of archive that this version writes.
pub(super) const FORM: u32 = 1;
/// Files of the home that are backed up, and folders with all that is in them.
pub(super) const FILES: [&str; 6] =
    ["aliases.toml", "config.toml", "memory.redb", "mint.used", "node.redb", "secret.json"];
pub(super) const FOLDERS: [&str; 5] = ["accusations", "callers", "content/files", "mint", "posts"];

/// Write a backup of the whole home into a file, also while the node runs.
///
/// The file holds all that the home holds: keys and money, in clear unless they are sealed with a passphrase. It is readable by you alone:
/// keep it so. A running node goes on; the backup is what it was at one instant. Two homes that live on from one backup harm nobody, see
/// docs/operations.md; but the money can be spent once.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The file to write. It must not be there yet.
    file: PathBuf,
}

/// What an archive is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The form of archive.
    pub(super) form: u32,
    /// The version that made it.
    pub(super) version: String,
    /// Whose home it is.
    pub(super) peer_id: String,
    /// When it was made.
    pub(super) made: Timestamp,
    /// Whether the node ran.
    pub(super) live: bool,
}

/// What was written.
#[derive(Debug, Serialize)]
struct BackedUp {
    file: String,
    #[serde(flatten)]
    manifest: Manifest,
    files: u64,
    bytes: u64,
    sealed: bool,
    hosted_mint: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let home = context.home()?;
    home.check()?;
    let secret = SecretFile::load(&home.secret())?;
    let agent = secret.agent()?;
    // Held for as long as the archive is written, so that no daemon starts meanwhile; or one runs, and makes copies.
    let held = hold(&home);
    let live = held.is_err();
    let snapshot = if live { Some(snapshot(&home, context)?) } else { None };
    // After it: what the store names by then is there. What goes away meanwhile belongs to something that is over.
    let mut files = listed(&home)?;
    if let Some(Taken { folder, .. }) = &snapshot {
        files.retain(|name, _| !STORES.contains(&name.as_str()) && !name.starts_with("mint/"));
        let copied = STORES.into_iter().map(|name| (name.to_owned(), folder.join(name)));
        files.extend(copied.filter(|(_, path)| path.exists()));
        let books = mint::books(folder);
        if books.exists() {
            let name = mint::books(Path::new("mint")).display().to_string();
            files.insert(name, books);
        }
    }
    let manifest = Manifest {
        form: FORM,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        peer_id: agent.peer_id(),
        made: now(),
        live,
    };
    let hosted_mint = files.keys().any(|name| name.starts_with("mint/"));
    let (count, bytes) = write(&args.file, &manifest, &files)?;
    let file = args.file.display().to_string();
    context.printer.show(&BackedUp { file, manifest, files: count, bytes, sealed: secret.is_sealed(), hosted_mint })?;
    Ok(Exit::Done)
}

/// Now, in whole seconds.
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs())
}

/// Copies that the running node made; removed when dropped.
struct Taken {
    folder: PathBuf,
}

impl Drop for Taken {
    fn drop(&mut self) {
        // What is left goes at the node's next start.
        let _ = fs::remove_dir_all(&self.folder);
        let _ = self.folder.parent().map(fs::remove_dir);
    }
}

fn snapshot(home: &Home, context: &Context) -> Result<Taken, CliError> {
    let mut taken = None;
    wait_for(async {
        let client = context.client()?;
        let Snapshot { folder } =
            context.printer.waiting("the node copies its store", client.post("/v1/snapshot", &())).await?;
        taken = Some(Taken { folder: folder.into() });
        Ok(Exit::Done)
    })?;
    taken
        .filter(|taken| taken.folder.starts_with(home.dir()))
        .ok_or_else(|| CliError::usage("the node that answers works on another home", "name its home: --home DIR"))
}

/// The files of a home by their names in an archive.
fn listed(home: &Home) -> Result<BTreeMap<String, PathBuf>, CliError> {
    let mut files = BTreeMap::new();
    for name in FILES {
        let path = home.dir().join(name);
        if path.exists() {
            files.insert(name.to_owned(), path);
        }
    }
    for folder in FOLDERS {
        let path = home.dir().join(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(CliError::file("read", &path, &cause)),
        };
        for entry in entries {
            let entry = entry.map_err(|cause| CliError::file("read", &path, &cause))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // What a process is in the middle of writing has its number in its name.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && !name.ends_with(".new") {
                files.insert(format!("{folder}/{name}"), entry.path());
            }
        }
    }
    Ok(files)
}

/// Writes the archive: under its name it is whole, or not there. Returns how many files are in it, and their bytes.
fn write(path: &Path, manifest: &Manifest, files: &BTreeMap<String, PathBuf>) -> Result<(u64, u64), CliError> {
    let there = || {
        CliError::usage(
            format!("{} is there already", path.display()),
            "name a file that isn't: a backup replaces none",
        )
    };
    if path.exists() {
        return Err(there());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    // Of a backup that was killed.
    let _ = fs::remove_file(&fresh);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&fresh);
    let file = file.map_err(|cause| CliError::file("write", &fresh, &cause))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = archive(file, manifest, files).and_then(|written| {
        match fs::hard_link(&fresh, path) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => fs::rename(&fresh, path)?,
            linked => linked?,
        }
        File::open(folder)?.sync_all()?;
        Ok(written)
    });
    let _ = fs::remove_file(&fresh);
    written.map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => there(),
        _ => CliError::io(format!("can't write {}", path.display()), &cause),
    })
}

fn archive(file: File, manifest: &Manifest, files: &BTreeMap<String, PathBuf>) -> io::Result<(u64, u64)> {
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    let (mut count, mut bytes, mut sums) = (0, 0, String::new());
    append(&mut tar, MANIFEST, manifest.made, &serde_json::to_vec_pretty(manifest)?)?;
    for (name, path) in files {
        let file = match File::open(path) {
            Ok(file) => file,
            // Of something that is over since.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && name.contains('/') => continue,
            Err(cause) => return Err(cause),
        };
        let size = file.metadata()?.len();
        let mut hashed = Hashed { inner: file.take(size), sum: Sha256::new() };
        tar.append_data(&mut header(size, manifest.made), name, &mut hashed)?;
        sums += &format!("{}  {name}\n", hex::encode(hashed.sum.finalize()));
        (count, bytes) = (count + 1, bytes + size);
    }
    append(&mut tar, SUMS, manifest.made, sums.as_bytes())?;
    let mut out = tar.into_inner()?;
    out.flush()?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok((count, bytes))
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, made: Timestamp, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64, made), name, bytes)
}

fn header(size: u64, made: Timestamp) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(made.as_secs());
    header.set_entry_type(tar::EntryType::Regular);
    header
}

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    sum: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.sum.update(&out[..read]);
        Ok(read)
    }
}

impl Show for BackedUp {
    fn human(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Self { file, manifest, files, bytes, sealed, hosted_mint } = self;
        let secret =
            if *sealed { "sealed with the node's passphrase" } else { "in clear: whoever has the file has the money" };
        fields(
            out,
            &[
                ("backup", file.clone()),
                ("of", manifest.peer_id.clone()),
                ("while", if manifest.live { "the node ran" } else { "the node didn't run" }.to_owned()),
                ("files", format!("{files}, {bytes} bytes")),
                ("keys", secret.to_owned()),
            ],
        )?;
        if *hosted_mint {
            writeln!(
                out,
                "\nThe hosted mint's books are in it as they are now. Put back later they lack what is spent until then: a restored mint\n\
                 does no swaps before its operator has accepted that loss."
            )?;
        }
        writeln!(out, "\nPut it back, where no node is: guilder restore FILE")
    }
}

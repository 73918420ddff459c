//! Keeps what shows that a seller took money for nothing, or sold a wrong key: one file for each trade, a proof of fraud
//! (`guilder audit verify` reads it), under `accusations/` in the home folder. The folder can be handed on; a file that was
//! removed is written again at the next start. It holds [`MAX_ACCUSATIONS_BYTES`]: beyond that those go whose fraud was found out
//! longest ago, whenever they were written, but none of a trade whose money is still out.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use cid::Cid;
use guilder_protocol::time::Timestamp;

use crate::{
    content::ContentError,
    events::{Event, Heard, Side},
    limits::MAX_ACCUSATIONS_BYTES,
    parts::Node,
    runtime::Job,
    trade::AccusationFile,
};

/// Writes those that are missing, and each as it comes up, until the node is gone.
pub(super) async fn keep(folder: PathBuf, node: Node) {
    let mut events = node.events.subscribe_to(|event| matches!(event, Event::Cheated { side: Side::Buyer, .. }));
    let place = folder.clone();
    if let Err(error) = node.runtime.offload(Job::Disk, move || remove_unfinished(&place)).await {
        tracing::warn!(%error, "accusations/ can't be tidied");
    }
    match node.trade.cheats() {
        Ok(cheats) => write_known(&folder, &node, cheats).await,
        Err(error) => tracing::warn!(%error, "what sellers took can't be read"),
    }
    while let Some(heard) = events.next().await {
        match heard {
            Heard::Event(heard) => {
                if let Event::Cheated { trade, side: Side::Buyer, .. } = &heard.event {
                    write_one(&folder, &node, *trade).await;
                    make_room(&folder, &node).await;
                }
            }
            // What was missed is written at the next start.
            Heard::Missed(_) => {}
        }
    }
}

/// Writes what is missing of what is known, the newest first, as far as there is room.
async fn write_known(folder: &Path, node: &Node, cheats: Vec<Cid>) {
    let mut full = false;
    for trade in cheats {
        if full && !is_open(node, trade) {
            continue;
        }
        write_one(folder, node, trade).await;
        full = full || size_of(node, folder).await >= MAX_ACCUSATIONS_BYTES;
    }
    make_room(folder, node).await;
}

async fn write_one(folder: &Path, node: &Node, trade: Cid) {
    let accusation = match node.trade.accusation(trade) {
        Ok(Some(accusation)) => accusation,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%trade, %error, "what a seller took can't be read");
            return;
        }
    };
    let written = match accusation.file(&node.content).await {
        Ok(file) => write(node, folder, trade, file).await,
        Err(error) => Err(io::Error::other(error)),
    };
    if let Err(error) = written {
        tracing::warn!(%trade, %error, "what shows that a seller cheated could not be written");
    }
}

/// When a fraud was found out; when its file was written where that can't be told.
fn found_at(node: &Node, proof: &Proof) -> Timestamp {
    node.trade.cheated_at(proof.trade).ok().flatten().unwrap_or(proof.written)
}

/// Whether a trade's money is still out. What can't be read is kept.
fn is_open(node: &Node, trade: Cid) -> bool {
    node.trade.has_money_out(trade).unwrap_or(true)
}

async fn size_of(node: &Node, folder: &Path) -> u64 {
    let folder = folder.to_owned();
    let files = node.runtime.offload(Job::Disk, move || files(&folder)).await;
    files.unwrap_or_default().iter().map(|file| file.bytes).sum()
}

/// Removes the oldest files beyond what the folder may hold.
async fn make_room(folder: &Path, node: &Node) {
    let (folder, judging) = (folder.to_owned(), node.clone());
    let removing = move || {
        let found_at = |proof: &Proof| found_at(&judging, proof);
        prune(&folder, MAX_ACCUSATIONS_BYTES, found_at, |trade| is_open(&judging, trade))
    };
    match node.runtime.offload(Job::Disk, removing).await {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => {
            let oldest: Vec<String> = removed.iter().map(ToString::to_string).collect();
            let trades = oldest.join(", ");
            tracing::warn!(%trades, "accusations/ is full: the proofs of the oldest trades were removed");
        }
        Err(error) => tracing::warn!(%error, "accusations/ can't be tidied"),
    }
}

/// How a proof's file is called after its trade.
const ENDING: &str = ".fraud.car";

/// What a file is called while it is written.
const UNFINISHED: &str = ".fraud.part";

/// One proof in the folder.
struct Proof {
    trade: Cid,
    path: PathBuf,
    bytes: u64,
    written: Timestamp,
}

/// The proofs in the folder; nothing else that lies there.
fn files(folder: &Path) -> io::Result<Vec<Proof>> {
    let mut files = Vec::new();
    for (trade, path) in named_after_trades(folder, ENDING)? {
        let known = std::fs::symlink_metadata(&path)?;
        let written = known.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        files.push(Proof { trade, path, bytes: known.len(), written: Timestamp::from_secs(written) });
    }
    Ok(files)
}

/// The files that are called after a trade and end so.
fn named_after_trades(folder: &Path, ending: &str) -> io::Result<Vec<(Cid, PathBuf)>> {
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let trade = name.to_str().and_then(|name| name.strip_suffix(ending)).and_then(|trade| trade.parse().ok());
        files.extend(trade.map(|trade| (trade, path)));
    }
    Ok(files)
}

/// Removes what was being written when the process was killed.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    named_after_trades(folder, UNFINISHED)?.iter().try_for_each(|(_, path)| std::fs::remove_file(path))
}

/// Removes the proofs of the oldest frauds until the folder holds no more than `most` bytes, but none that `keeps`; says of which
/// trades.
fn prune(
    folder: &Path,
    most: u64,
    found_at: impl Fn(&Proof) -> Timestamp,
    keeps: impl Fn(Cid) -> bool,
) -> io::Result<Vec<Cid>> {
    let mut files = files(folder)?;
    files.sort_by_cached_key(|file| (found_at(file), file.trade));
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let mut removed = Vec::new();
    for file in files {
        if bytes <= most {
            break;
        }
        if !keeps(file.trade) {
            std::fs::remove_file(&file.path)?;
            bytes = bytes.saturating_sub(file.bytes);
            removed.push(file.trade);
        }
    }
    Ok(removed)
}

/// Writes a file piece by piece, beside its place and then into it, unless it is there.
async fn write(node: &Node, folder: &Path, trade: Cid, mut accusation: AccusationFile) -> io::Result<()> {
    let path = folder.join(format!("{trade}{ENDING}"));
    let (known, head) = (path.clone(), accusation.head().clone());
    if node.runtime.offload(Job::Disk, move || begins_with(&known, &head)).await {
        return Ok(());
    }
    let part = folder.join(format!("{trade}{UNFINISHED}"));
    let place = part.clone();
    let mut file = node.runtime.offload(Job::Disk, move || create(&place)).await?;
    while let Some(piece) = accusation.next().await.map_err(broken)? {
        file = node.runtime.offload(Job::Disk, move || file.write_all(&piece).map(|()| file)).await?;
    }
    let publish = move || file.sync_all().and_then(|()| std::fs::rename(part, path));
    node.runtime.offload(Job::Disk, publish).await
}

fn broken(error: ContentError) -> io::Error {
    io::Error::other(error)
}

/// Whether a whole file is there already: one under its own name is whole, and its head names all of it.
fn begins_with(path: &Path, head: &Bytes) -> bool {
    let mut begun = vec![0; head.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut begun)).is_ok() && begun == *head
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{collections::BTreeSet, time::Duration};

    use guilder_protocol::cbor::cid_of;

    use super::*;

    fn trade(number: u8) -> Cid {
        cid_of(&[number])
    }

    fn proof(folder: &Path, number: u8, written: u64) {
        let file = File::create(folder.join(format!("{}{ENDING}", trade(number)))).unwrap();
        file.set_len(100).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(written)).unwrap();
    }

    fn left(folder: &Path) -> BTreeSet<Cid> {
        files(folder).unwrap().into_iter().map(|file| file.trade).collect()
    }

    #[test]
    fn the_oldest_proofs_go_but_none_of_a_trade_whose_money_is_out() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        for number in 0..5 {
            proof(folder, number, 1_000 + u64::from(number));
        }
        std::fs::write(folder.join("notes.txt"), [0; 1_000]).unwrap();
        let written = |file: &Proof| file.written;
        assert!(prune(folder, 500, written, |_| false).unwrap().is_empty());
        assert_eq!(prune(folder, 350, written, |open| open == trade(0)).unwrap(), [trade(1), trade(2)]);
        assert_eq!(left(folder), BTreeSet::from([0, 3, 4].map(trade)));
        assert!(prune(folder, 0, written, |_| true).unwrap().is_empty());
        assert_eq!(prune(folder, 100, written, |_| false).unwrap(), [trade(0), trade(3)]);
        assert!(folder.join("notes.txt").exists());
        assert!(prune(&folder.join("none"), 0, written, |_| false).unwrap().is_empty());
    }

    #[test]
    fn proofs_written_anew_newest_first_go_by_when_the_fraud_was_found_not_by_when_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..4 {
            proof(dir.path(), number, 2_000 - u64::from(number));
        }
        let found_at = |file: &Proof| {
            let number = (0..4).find(|number| trade(*number) == file.trade).unwrap();
            Timestamp::from_secs(1_000 - 10 * u64::from(number))
        };
        let removed = prune(dir.path(), 200, found_at, |_| false).unwrap();
        assert_eq!(removed, [trade(3), trade(2)]);
        assert_eq!(left(dir.path()), BTreeSet::from([0, 1].map(trade)));
    }

    #[test]
    fn what_a_killed_process_was_writing_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        remove_unfinished(&dir.path().join("none")).unwrap();
        proof(dir.path(), 1, 1_000);
        let notes = dir.path().join(format!("notes{UNFINISHED}"));
        let unfinished = dir.path().join(format!("{}{UNFINISHED}", trade(2)));
        for path in [&notes, &unfinished] {
            std::fs::write(path, b"half").unwrap();
        }
        remove_unfinished(dir.path()).unwrap();
        assert!(notes.exists() && !unfinished.exists());
        assert_eq!(left(dir.path()), BTreeSet::from([trade(1)]));
    }
}

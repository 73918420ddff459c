//! Keeps what shows that a seller took money for nothing, or sold a wrong key: one file for each trade, a proof of fraud
//! (`guilder audit verify` reads it), under `accusations/` in the home folder. The folder can be handed on; a file that was
//! removed is written again at the next start. It holds [`MAX_ACCUSATIONS_BYTES`]: beyond that the oldest go, but none of a trade
//! whose money is still out.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use cid::Cid;

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
    let mut events = node.events.subscribe();
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
    let path = folder.join(format!("{trade}{ENDING}"));
    let written = match accusation.file(&node.content).await {
        Ok(file) => write(node, path, file).await,
        Err(error) => Err(io::Error::other(error)),
    };
    if let Err(error) = written {
        tracing::warn!(%trade, %error, "what shows that a seller cheated could not be written");
    }
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
    let removing = move || prune(&folder, MAX_ACCUSATIONS_BYTES, |trade| is_open(&judging, trade));
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

/// One proof in the folder.
struct Proof {
    trade: Cid,
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

/// The proofs in the folder, the oldest first; nothing else that lies there.
fn files(folder: &Path) -> io::Result<Vec<Proof>> {
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries?,
    };
    for entry in entries {
        let (entry, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let trade = entry.to_str().and_then(|name| name.strip_suffix(ENDING)).and_then(|trade| trade.parse().ok());
        let Some(trade) = trade else { continue };
        let known = std::fs::symlink_metadata(&path)?;
        files.push(Proof { trade, path, bytes: known.len(), written: known.modified()? });
    }
    files.sort_by_key(|file| (file.written, file.trade));
    Ok(files)
}

/// Removes the oldest proofs until the folder holds no more than `most` bytes, but none that `keeps`; says of which trades.
fn prune(folder: &Path, most: u64, keeps: impl Fn(Cid) -> bool) -> io::Result<Vec<Cid>> {
    let files = files(folder)?;
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
async fn write(node: &Node, path: PathBuf, mut accusation: AccusationFile) -> io::Result<()> {
    let (known, head) = (path.clone(), accusation.head().clone());
    if node.runtime.offload(Job::Disk, move || begins_with(&known, &head)).await {
        return Ok(());
    }
    let part = path.with_extension("part");
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
    use std::time::Duration;

    use guilder_protocol::cbor::cid_of;

    use super::*;

    #[test]
    fn the_oldest_proofs_go_but_none_of_a_trade_whose_money_is_out() {
        let folder = tempfile::tempdir().unwrap();
        let trade = |number: u8| cid_of(&[number]);
        for number in 0..5 {
            let file = File::create(folder.path().join(format!("{}{ENDING}", trade(number)))).unwrap();
            file.set_len(100).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + u64::from(number))).unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), [0; 1_000]).unwrap();
        let left = || files(folder.path()).unwrap().into_iter().map(|file| file.trade).collect::<Vec<_>>();
        assert!(prune(folder.path(), 500, |_| false).unwrap().is_empty());
        assert_eq!(prune(folder.path(), 350, |open| open == trade(0)).unwrap(), [trade(1), trade(2)]);
        assert_eq!(left(), [trade(0), trade(3), trade(4)]);
        assert!(prune(folder.path(), 0, |_| true).unwrap().is_empty());
        assert_eq!(prune(folder.path(), 100, |_| false).unwrap(), [trade(0), trade(3)]);
        assert!(folder.path().join("notes.txt").exists());
        assert!(prune(&folder.path().join("none"), 0, |_| false).unwrap().is_empty());
    }
}

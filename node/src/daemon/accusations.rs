//! Keeps what shows that a seller took money for nothing, or sold a wrong key: one file for each trade, a proof of fraud
//! (`guilder audit verify` reads it), under `accusations/` in the home folder. The folder can be handed on; a file that was
//! removed is written again at the next start.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use cid::Cid;

use crate::{
    content::ContentError,
    events::{Event, Heard, Side},
    parts::Node,
    runtime::Job,
    trade::AccusationFile,
};

/// Writes those that are missing, and each as it comes up, until the node is gone.
pub(super) async fn keep(folder: PathBuf, node: Node) {
    let mut events = node.events.subscribe();
    match node.trade.cheats() {
        Ok(cheats) => write_all(&folder, &node, cheats).await,
        Err(error) => tracing::warn!(%error, "what sellers took can't be read"),
    }
    while let Some(heard) = events.next().await {
        match heard {
            Heard::Event(heard) => {
                if let Event::Cheated { trade, side: Side::Buyer, .. } = &heard.event {
                    write_all(&folder, &node, vec![*trade]).await;
                }
            }
            // What was missed is written at the next start.
            Heard::Missed(_) => {}
        }
    }
}

async fn write_all(folder: &Path, node: &Node, trades: Vec<Cid>) {
    for trade in trades {
        let accusation = match node.trade.accusation(trade) {
            Ok(Some(accusation)) => accusation,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%trade, %error, "what a seller took can't be read");
                continue;
            }
        };
        let path = folder.join(format!("{trade}.fraud.car"));
        let written = match accusation.file(&node.content).await {
            Ok(file) => write(node, path, file).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = written {
            tracing::warn!(%trade, %error, "what shows that a seller cheated could not be written");
        }
    }
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

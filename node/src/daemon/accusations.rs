//! Keeps what shows that a seller took money for nothing: one file for each trade, under `accusations/` in the home folder.
//! The folder can be handed on; a file that was removed is written again at the next start.

use std::{
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use cid::Cid;

use crate::{
    events::{Event, Heard, Side},
    parts::Node,
    runtime::Job,
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
        let path = folder.join(format!("{trade}.json"));
        let written = node.runtime.offload(Job::Disk, move || write(&path, &accusation)).await;
        if let Err(error) = written {
            tracing::warn!(%trade, %error, "what shows that a seller took money could not be written");
        }
    }
}

fn write(path: &Path, accusation: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(accusation)?;
    if std::fs::read(path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let part = path.with_extension("part");
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(part, path)
}

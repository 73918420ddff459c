//! Where a lab's nodes live: a folder that is kept, or one that goes away with them.

use std::path::{Path, PathBuf};

use crate::{
    console::CliError,
    keys::{Home, HomeError},
};

/// The folder of one run.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    kept: bool,
    nodes: Vec<String>,
}

impl Folder {
    /// `keep`, which must be new or empty; else a fresh one among the temporary files.
    pub(crate) fn make(keep: Option<&Path>) -> Result<Self, CliError> {
        let path = match keep {
            Some(path) => path.to_owned(),
            None => {
                let mut tag = [0; 6];
                getrandom::fill(&mut tag)
                    .map_err(|error| CliError::io("the system gives no random numbers", &error.into()))?;
                std::env::temp_dir().join(format!("guilder-{}", hex::encode(tag)))
            }
        };
        Home::at(&path).create()?;
        let mut entries = std::fs::read_dir(&path).map_err(|cause| HomeError::io("read", &path, cause))?;
        if entries.next().is_some() {
            return Err(CliError::usage(
                format!("{} isn't empty", path.display()),
                "name a folder that is new or empty",
            ));
        }
        let path = path.canonicalize().map_err(|cause| HomeError::io("read", &path, cause))?;
        Ok(Self { path, kept: keep.is_some(), nodes: Vec::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A node's folder, to be removed at the end unless all is kept.
    pub(crate) fn add(&mut self, node: &str) {
        self.nodes.push(node.to_owned());
    }
}

/// Removes the nodes' folders, and the folder itself if nothing else was put in it.
impl Drop for Folder {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for node in &self.nodes {
            let _ = std::fs::remove_dir_all(self.path.join(node));
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

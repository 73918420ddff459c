//! What a duty posts: a request to a local service, or a file in the home's `posts` folder.
//!
//! ```text
//! POST <url>                        200-299: taken; anything else: not
//! idempotency-key: <run>/<step>     the same again after a crash
//! guilder-trust: <whose word it is> world, peer, node or owner
//! ```

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;

use super::{
    Executors,
    http::{beginning, connect, describe},
    settings::{HttpSettings, Target},
};
use crate::runtime::Job;

/// How long a local service may take: nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(crate::duty::limits::BLOCKING_SECS);

impl Executors {
    /// Posts something to a local service.
    ///
    /// # Errors
    /// Why it wasn't taken, in words.
    pub(crate) async fn post(&self, url: &str, key: &str, trust: &str, body: Bytes) -> Result<(), String> {
        let posting = async {
            let settings = HttpSettings { url: url.to_owned(), headers: Default::default(), allow_remote: false };
            let target = Target::parse(&settings).map_err(|error| error.to_string())?;
            let stream = connect(&target, false).await.map_err(|error| error.to_string())?;
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| describe(&error))?;
            let request = Request::builder()
                .method(Method::POST)
                .uri(&target.path)
                .header(header::HOST, &target.authority)
                .header(header::CONTENT_TYPE, "application/json")
                .header("idempotency-key", key)
                .header("guilder-trust", trust)
                .body(Full::new(body))
                .map_err(|error| error.to_string())?;
            let exchange = async {
                let response = sender.send_request(request).await.map_err(|error| describe(&error))?;
                let status = response.status();
                match status.is_success() {
                    true => Ok(()),
                    false => Err(format!("it answers {}: {}", status.as_u16(), beginning(response.into_body()).await)),
                }
            };
            tokio::pin!(exchange, connection);
            tokio::select! {
                biased;
                done = &mut exchange => done,
                // What was received before the connection ended is still there to be read.
                _ = &mut connection => exchange.await,
            }
        };
        let posted = tokio::time::timeout(PATIENCE, posting).await;
        posted.unwrap_or_else(|_| Err("it doesn't answer".to_owned())).map_err(|why| format!("{url}: {why}"))
    }

    /// Writes a file whole, over the one before.
    ///
    /// # Errors
    /// Why it couldn't, in words.
    pub(crate) async fn post_file(&self, name: &str, body: Bytes) -> Result<(), String> {
        let Some(folder) = self.posts.clone() else { return Err("this node posts no files".to_owned()) };
        let path = folder.join(name);
        let writing =
            move || write_whole(&folder, &path, &body).map_err(|error| format!("{}: {error}", path.display()));
        self.runtime.offload(Job::Disk, writing).await
    }
}

/// Writes a file beside its place, and moves it there: it is never seen half. Nothing on the way may lead out of the folder.
fn write_whole(folder: &Path, path: &Path, body: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(folder);
    fs::create_dir_all(parent)?;
    if !parent.canonicalize()?.starts_with(folder.canonicalize()?) {
        return Err(io::Error::other("it leads out of the folder"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = parent.join(name);
    let mut file = fs::File::create(&beside)?;
    file.write_all(body)?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_written_whole_over_the_one_before_and_never_outside_of_its_folder() {
        let home = tempfile::tempdir().unwrap();
        let (folder, outside) = (home.path().join("posts"), home.path().join("outside"));
        for body in [&b"first"[..], b"second"] {
            write_whole(&folder, &folder.join("a/b.json"), body).unwrap();
            assert_eq!(fs::read(folder.join("a/b.json")).unwrap(), body);
        }
        assert_eq!(fs::read_dir(folder.join("a")).unwrap().count(), 1);
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("way-out")).unwrap();
        assert!(write_whole(&folder, &folder.join("way-out/b.json"), b"x").is_err());
        assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    }
}

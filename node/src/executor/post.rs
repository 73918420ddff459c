//! What this node says to others over HTTP by itself: what a duty posts, to a local service or into a file of the home's `posts` folder, and
//! the events that webhooks tell.
//!
//! ```text
//! POST <url>                        200-299: taken; anything else: not
//! idempotency-key: <run>/<step>     a duty's: the same again after a crash
//! guilder-trust: <whose word it is> a duty's: world, peer, node or owner
//! webhook-…                         a webhook's: see `notify`
//! ```
//!
//! A connection each, redirects not followed.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;

use super::{
    Executors,
    http::{beginning, connect, describe},
    settings::{HttpSettings, Target},
};
use crate::runtime::Job;

/// How long whoever is told may take: nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(crate::duty::limits::BLOCKING_SECS);

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// After how many seconds it wants to be asked again.
    pub(crate) retry_after_secs: Option<u64>,
    /// The beginning of what it says, where it didn't take it.
    pub(crate) said: String,
}

/// Whether a webhook may go to a URL: on this machine, or under TLS.
pub(crate) fn is_endpoint(url: &str) -> bool {
    endpoint(url).is_ok()
}

fn endpoint(url: &str) -> Result<(Target, bool), String> {
    let target = |allow_remote| {
        let settings = HttpSettings { url: url.to_owned(), headers: Default::default(), allow_remote };
        Target::parse(&settings).map_err(|error| error.to_string())
    };
    match target(false) {
        Ok(target) => Ok((target, false)),
        Err(why) => match target(true) {
            Ok(target) if target.tls => Ok((target, true)),
            _ => Err(why),
        },
    }
}

impl Executors {
    /// Posts something to a local service.
    ///
    /// # Errors
    /// Why it wasn't taken, in words.
    pub(crate) async fn post(&self, url: &str, key: &str, trust: &str, body: Bytes) -> Result<(), String> {
        let settings = HttpSettings { url: url.to_owned(), headers: Default::default(), allow_remote: false };
        let target = Target::parse(&settings).map_err(|error| format!("{url}: {error}"))?;
        let headers = [("idempotency-key", key), ("guilder-trust", trust)];
        match say(&target, false, &headers, body).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("{url}: it answers {}: {}", answer.status.as_u16(), answer.said)),
            Err(why) => Err(format!("{url}: {why}")),
        }
    }

    /// Tells an endpoint of webhooks something, on this machine or under TLS.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(crate) async fn tell(&self, url: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, String> {
        let (target, remote) = endpoint(url)?;
        say(&target, remote, headers, body).await
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

/// One request and its answer, in [`PATIENCE`].
async fn say(target: &Target, remote: bool, headers: &[(&str, &str)], body: Bytes) -> Result<Answer, String> {
    let saying = async {
        let stream = connect(target, remote).await.map_err(|error| error.to_string())?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| describe(&error))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&target.path)
            .header(header::HOST, &target.authority)
            .header(header::USER_AGENT, concat!("guilder/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| describe(&error))?;
            let status = response.status();
            let after = response.headers().get(header::RETRY_AFTER);
            let retry_after_secs = after.and_then(|value| value.to_str().ok()?.parse().ok());
            let said = if status.is_success() { String::new() } else { beginning(response.into_body()).await };
            Ok(Answer { status, retry_after_secs, said })
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            // What was received before the connection ended is still there to be read.
            _ = &mut connection => exchange.await,
        }
    };
    tokio::time::timeout(PATIENCE, saying).await.unwrap_or_else(|_| Err("it doesn't answer".to_owned()))
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
    fn webhooks_go_to_this_machine_or_under_tls() {
        for url in ["http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]/", "https://hooks.example/x?y=z"] {
            assert!(is_endpoint(url), "{url}");
        }
        for url in [
            "http://hooks.example/x",
            "http://10.0.0.1/",
            "http://127.0.0.1.example/",
            "https://user:word@hooks.example/",
            "ftp://127.0.0.1/",
            "p2p://mint/x",
            "hooks.example",
            "",
        ] {
            assert!(!is_endpoint(url), "{url}");
        }
    }

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

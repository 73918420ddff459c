//! From what a service's file says to what does its work.

use std::{path::PathBuf, sync::Arc};

use super::{
    Echo, Executor, Http, Process,
    mcp::{Mcp, Pool},
    process::ProcessHost,
    settings::Run,
};
use crate::{content::Content, runtime::Runtime};

/// What executors are built from.
#[derive(Clone, Debug)]
pub struct Executors {
    pub(super) content: Content,
    pub(super) runtime: Runtime,
    make: Make,
    servers: Pool,
    /// Where files are posted, if anywhere.
    pub(super) posts: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Make {
    /// What the definition says; programs work here.
    AsDefined(ProcessHost),
    /// This one does the work of every service.
    Replaced(Arc<dyn Executor>),
}

impl Executors {
    /// `guard` is the `guilder` binary, which guards every program ([`super::process`]); in `work_dir` each run gets
    /// its own temporary folder. What a crash left there is removed: the folder must be this node's alone.
    ///
    /// # Errors
    /// If the folder can't be made or cleared.
    pub async fn open(guard: PathBuf, work_dir: PathBuf, content: Content, runtime: Runtime) -> std::io::Result<Self> {
        let host = ProcessHost::open(guard, work_dir, &runtime).await?;
        Ok(Self { content, runtime, make: Make::AsDefined(host), servers: Pool::default(), posts: None })
    }

    /// One executor for every service, whatever its definition says. The simulator's way in: no folder, no process.
    pub fn replaced_by(executor: Arc<dyn Executor>, content: Content, runtime: Runtime) -> Self {
        Self { content, runtime, make: Make::Replaced(executor), servers: Pool::default(), posts: None }
    }

    /// Where files are posted: a folder of this node's alone. Without one none are.
    #[must_use]
    pub fn posting(self, folder: PathBuf) -> Self {
        Self { posts: Some(folder), ..self }
    }

    /// Where inputs and outputs are.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// Builds the executor that a definition asks for.
    pub fn build(&self, run: &Run) -> Arc<dyn Executor> {
        let host = match &self.make {
            Make::Replaced(executor) => return Arc::clone(executor),
            Make::AsDefined(host) => host,
        };
        let (content, runtime) = (self.content.clone(), self.runtime.clone());
        match run {
            Run::Echo => Arc::new(Echo),
            Run::Http(settings) => Arc::new(Http::new(settings.clone(), content)),
            Run::Mcp(settings) => {
                Arc::new(Mcp::new(settings.clone(), self.servers.clone(), host.clone(), content, runtime))
            }
            Run::Process(settings) => Arc::new(Process::new(settings.clone(), host.clone(), content, runtime)),
        }
    }
}

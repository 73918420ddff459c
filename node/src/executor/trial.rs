//! A service tried out: its work done once as a hire would have it done, with its limits and schemas, on no network and for
//! no money.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use guilder_protocol::{
    cbor,
    fault::{AtFault, Fault},
    identity::AgentKey,
    limits::MAX_CONTENT,
};

use super::{Definition, ExecError, Executors, Output, Reports, Service, definition::DefinitionError};
use crate::{
    content::{Collector, Content, ContentError, Data},
    runtime::{Limits, Runtime},
};

/// A service that can be tried.
#[derive(Debug)]
pub struct Trial {
    service: Service,
    runtime: Runtime,
    /// Where inputs and outputs are.
    pub content: Content,
}

/// How a run ended.
#[derive(Debug)]
pub struct Tried {
    /// The output, or why there is none.
    pub output: Result<Output, ExecError>,
    /// How long it took, the checks of input and output included.
    pub took: Duration,
}

impl Trial {
    /// Checks a definition as `guilder service add` does, with this process's PATH, and makes it ready to work in `folder`,
    /// which is its alone. `guard` is the `guilder` binary.
    ///
    /// # Errors
    /// If the definition doesn't hold, its program can't be started, or the folder can't be used.
    pub async fn open(definition: Definition, folder: &Path, guard: PathBuf) -> Result<Self, TrialError> {
        definition.find_program()?;
        let runtime = Runtime::production(Limits::default());
        let content = Content::open(folder.join("content"), runtime.clone()).await?;
        let work = folder.join("work");
        let executors = Executors::open(guard, work.clone(), content.clone(), runtime.clone()).await;
        let executors = executors.map_err(|cause| TrialError::Folder { folder: work, cause })?;
        let service = Service::new(definition, &executors).await?;
        Ok(Self { service, runtime, content })
    }

    /// Where an input is collected: at most the largest that travels.
    pub fn input(&self) -> Collector {
        Collector::new(self.content.clone(), MAX_CONTENT)
    }

    /// Does the work, under an award that nobody gave and for a buyer that nobody is. Dropping the future stops it. The
    /// reports are what it says on the way, and the end of its standard error.
    pub fn run(&self, input: Data) -> (Reports, impl Future<Output = Tried>) {
        let (award, buyer) = (cbor::cid_of(&self.runtime.random::<32>()), AgentKey::from_seed(&self.runtime.random()));
        let (work, reports) = self.service.work(award, buyer.id(), input).reported();
        let run = async move {
            let slot = self.service.reserve().await;
            let began = self.runtime.instant();
            let output = self.service.run(slot, work).await;
            Tried { output, took: began.elapsed() }
        };
        (reports, run)
    }
}

/// Why a service can't be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Its definition doesn't hold.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The folder can't be used.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Nor for programs.
    #[error("can't use {}: {cause}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
}

impl AtFault for TrialError {
    fn fault(&self) -> Fault {
        match self {
            Self::Definition(error) => error.fault(),
            Self::Content(error) => error.fault(),
            Self::Folder { .. } => Fault::Environment,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Definition(error) => error.hint(),
            Self::Content(error) => error.hint(),
            Self::Folder { .. } => Some("TMPDIR names the folder in which services are tried"),
        }
    }
}

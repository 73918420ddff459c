//! A service ready to work: its definition, compiled schemas, executor and places.

use std::sync::Arc;

use cid::Cid;
use guilder_protocol::{identity::AgentId, limits::MAX_CONTENT};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Definition, ExecError, Executor, Executors, Output, Reporter, Work,
    definition::DefinitionError,
    schema::{Schema, SchemaError},
};
use crate::{
    content::{Content, Data},
    runtime::{Job, Runtime},
};

/// A service ready to work. Clones share its places.
#[derive(Clone, Debug)]
pub struct Service {
    definition: Arc<Definition>,
    input: Option<Arc<Schema>>,
    output: Option<Arc<Schema>>,
    executor: Arc<dyn Executor>,
    places: Arc<Semaphore>,
    content: Content,
    runtime: Runtime,
}

/// One of a service's places, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Service {
    /// Whether it is the very one that another is a handle of, and not one that was put on sale in its place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.definition, &other.definition)
    }

    /// Makes a service ready, with the executor that its definition asks for.
    ///
    /// # Errors
    /// If a schema doesn't compile.
    pub async fn new(definition: Definition, executors: &Executors) -> Result<Self, DefinitionError> {
        let executor = executors.build(&definition.run);
        Self::with_executor(definition, executor, executors.content.clone(), executors.runtime.clone()).await
    }

    /// Makes a service ready with another executor than its definition's. The simulator's way in.
    ///
    /// # Errors
    /// If a schema doesn't compile.
    pub async fn with_executor(
        definition: Definition,
        executor: Arc<dyn Executor>,
        content: Content,
        runtime: Runtime,
    ) -> Result<Self, DefinitionError> {
        let (input, output) = (definition.input.clone(), definition.output.clone());
        let compiled = runtime.offload(Job::Schema, move || {
            Ok::<_, DefinitionError>((compile("input", input.as_deref())?, compile("output", output.as_deref())?))
        });
        let (input, output) = compiled.await?;
        let places = Arc::new(Semaphore::new(definition.concurrency));
        Ok(Self { definition: Arc::new(definition), input, output, executor, places, content, runtime })
    }

    /// What the operator wrote.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// A piece of work for this service, with its limits. Nobody hears of its progress, see [`Work::reported`].
    pub fn work(&self, award: Cid, buyer: AgentId, input: Data) -> Work {
        let (service, limits) = (self.definition.name.clone(), self.definition.limits());
        Work { award, service, buyer, input, limits, reporter: Reporter::default(), access: None }
    }

    /// Takes one of the service's places; `None` if all are taken. An offer promises one, an award takes it.
    pub fn try_reserve(&self) -> Option<Slot> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(|permit| Slot { _permit: permit })
    }

    /// Waits for a place: for work that was accepted before a restart.
    pub async fn reserve(&self) -> Slot {
        #[allow(clippy::expect_used)] // the semaphore is never closed
        let permit = Arc::clone(&self.places).acquire_owned().await.expect("the places are there while the service is");
        Slot { _permit: permit }
    }

    /// How many places are free.
    pub fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    /// Checks an input's size and form, as an ask or award comes in.
    ///
    /// # Errors
    /// [`ExecError::InputInvalid`] if the service doesn't take it.
    pub async fn check_input(&self, input: &Data) -> Result<(), ExecError> {
        let limit = self.definition.max_input_bytes;
        if input.size() > limit {
            let size = input.size();
            return Err(ExecError::InputInvalid(format!("{size} bytes, at most {limit} are taken")));
        }
        self.check(self.input.as_ref(), input).await?.map_err(|error| ExecError::InputInvalid(error.to_string()))
    }

    /// Checks the input, does the work in `slot`, checks the output.
    ///
    /// # Errors
    /// If it comes to no valid output within its limits.
    pub async fn run(&self, slot: Slot, work: Work) -> Result<Output, ExecError> {
        self.check_input(&work.input).await?;
        let output = self.executor.run(work).await?;
        drop(slot);
        let limit_bytes = self.definition.max_output_bytes;
        if output.size() > limit_bytes {
            return Err(ExecError::OutputTooLarge { limit_bytes });
        }
        let checked = self.check(self.output.as_ref(), &output).await?;
        checked.map_err(|error| ExecError::OutputInvalid(error.to_string()))?;
        Ok(output)
    }

    async fn check(&self, schema: Option<&Arc<Schema>>, data: &Data) -> Result<Result<(), SchemaError>, ExecError> {
        match schema {
            None => Ok(Ok(())),
            Some(schema) => check_data(schema, data, &self.content, &self.runtime).await,
        }
    }
}

/// Checks data against a schema off the async threads. Both sides of a trade use it: the buyer with the schemas of the
/// seller's advert.
///
/// # Errors
/// Outer: if the data can't be read. Inner: if it doesn't satisfy the schema.
pub async fn check_data(
    schema: &Arc<Schema>,
    data: &Data,
    content: &Content,
    runtime: &Runtime,
) -> Result<Result<(), SchemaError>, ExecError> {
    if let Err(error) = schema.check_size(data.size()) {
        return Ok(Err(error));
    }
    let bytes = data.read(content, MAX_CONTENT).await?;
    let schema = Arc::clone(schema);
    Ok(runtime.offload(Job::Schema, move || schema.check(&bytes)).await)
}

fn compile(field: &'static str, schema: Option<&str>) -> Result<Option<Arc<Schema>>, DefinitionError> {
    let compiled = schema.map(|text| Schema::compile(text).map(Arc::new)).transpose();
    compiled.map_err(|error| DefinitionError::Schema { field, error })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::{executor::Echo, runtime::Limits};

    /// A failure of the one before must not take the one in its place off sale.
    #[tokio::test]
    async fn a_service_that_is_put_on_sale_anew_is_another_though_its_definition_is_the_same() {
        let (runtime, folder) = (Runtime::production(Limits::default()), tempfile::tempdir().unwrap());
        let content = Content::open(folder.path().to_path_buf(), runtime.clone()).await.unwrap();
        let text = "name = \"text.echo\"\ndescription = \"x\"\nprice = 1\nunit = \"sat\"\nrun = \"echo\"\n";
        let service = async || {
            let definition = Definition::from_toml(text, Path::new(".")).unwrap();
            Service::with_executor(definition, Arc::new(Echo), content.clone(), runtime.clone()).await.unwrap()
        };
        let (before, anew) = (service().await, service().await);
        assert!(before.is(&before.clone()) && !before.is(&anew));
    }
}

//! The built-in executor that gives back what it gets: for demos, tests and measurements.

use async_trait::async_trait;

use super::{ExecError, Executor, Output, Work};

/// Gives back its input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

#[async_trait]
impl Executor for Echo {
    async fn run(&self, work: Work) -> Result<Output, ExecError> {
        let limit_bytes = work.limits.output_bytes;
        if work.input.size() > limit_bytes { Err(ExecError::OutputTooLarge { limit_bytes }) } else { Ok(work.input) }
    }
}

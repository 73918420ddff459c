//! `guilder demo`

use super::{CliError, Context, Exit, wait_for};
use crate::lab::demo::{self, DemoArgs};

pub(super) fn run(args: &DemoArgs, context: &Context) -> Result<Exit, CliError> {
    wait_for(demo::run(args, &context.printer))
}

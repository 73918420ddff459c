//! `guilder demo`

use super::{Context, wait_for};
use crate::{
    console::{CliError, Exit},
    lab::demo::{self, DemoArgs},
};

pub(super) fn run(args: &DemoArgs, context: &Context) -> Result<Exit, CliError> {
    wait_for(demo::run(args, &context.printer))
}

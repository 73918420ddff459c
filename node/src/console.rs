//! What people read: the printer, the tables, the errors with their exit codes. The command line and the lab both speak
//! through it, and neither needs the other for that.
//!
//! Whatever reaches a terminal or a log passes [`harmless`]: in the printer here, and in `daemon::log`.

mod command;
mod error;
pub mod harmless;
mod printer;

pub use self::{
    command::quoted,
    error::{CliError, Exit},
    printer::{Field, Printer, Show, fields, is_coloured, table},
};

//! What people read: the printer, the tables, the errors with their exit codes. The command line and the lab both speak
//! through it, and neither needs the other for that.
//!
//! Whatever reaches a terminal or a log passes [`harmless`]: in the printer here, and in `daemon::log`.

pub(crate) mod command;
mod error;
pub mod harmless;
mod look;
mod printer;
mod screen;
mod table;

pub use self::{
    error::{CliError, Exit},
    look::Look,
    printer::{Printer, Show, is_coloured},
    screen::{Key, Screen},
    table::{Field, fields, table, table_as},
};
pub use crate::{
    aliases::{AliasError, Aliases, Named},
    shell::quoted,
};

//! What people read: the printer, the tables, the errors with their exit codes. The command line and the lab both speak
//! through it, and neither needs the other for that.

mod error;
mod printer;

pub use self::{
    error::{CliError, Exit},
    printer::{Printer, Show, fields, table},
};

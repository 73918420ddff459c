//! How what is shown looks in this process: how wide it may be, whether it is coloured, and which peers and mints have names that
//! their operator gave them. Set once, by the command line; tests and the simulator have the plain look.

use std::{io, sync::OnceLock};

use rustix::termios::tcgetwinsize;

use super::printer::is_coloured;
use crate::aliases::Aliases;

/// A terminal that is said to be narrower isn't believed.
const MIN_WIDTH: usize = 40;

/// How it looks.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Columns of the terminal; none where there is no terminal, and nothing is shortened then.
    pub width: Option<usize>,
    /// Whether states have colours.
    pub coloured: bool,
    /// What the operator calls peers and mints.
    pub aliases: Aliases,
}

static LOOK: OnceLock<Look> = OnceLock::new();

impl Look {
    /// That of standard output.
    pub fn of_stdout(aliases: Aliases) -> Self {
        let size = tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Self { width: size.map(|width| width.max(MIN_WIDTH)), coloured: is_coloured(&io::stdout()), aliases }
    }

    /// From now on what is shown looks like this. The first call in a process counts.
    pub fn begin(self) {
        // It fails only if it was said before.
        let _ = LOOK.set(self);
    }

    /// How it looks in this process.
    pub fn now() -> &'static Self {
        LOOK.get_or_init(Self::default)
    }
}

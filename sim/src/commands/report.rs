//! `report`: what `run --out` wrote, as one HTML file.

use std::{
    fs::{self, File},
    io::BufReader,
    path::PathBuf,
};

use clap::Args;
use guilder_sim::{report, results::Results};

use super::Verdict;

/// The arguments of `report`.
#[derive(Args)]
pub(crate) struct Report {
    /// The folder that `run --out` wrote into.
    folder: PathBuf,
    /// Where the page is written; into the folder, if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(self) -> Verdict {
        let path = self.folder.join("results.jsonl");
        let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let results = Results::read(BufReader::new(file)).map_err(|error| format!("{}: {error}", path.display()))?;
        let scenario = fs::read_to_string(self.folder.join("scenario.toml")).unwrap_or_default();
        let page = self.out.unwrap_or_else(|| self.folder.join("report.html"));
        fs::write(&page, report::html(&results, &scenario))?;
        println!("{}", page.display());
        Ok(true)
    }
}

//! `report`: what `run --out` wrote, as one HTML page; several folders are drawn against each other.

use std::{
    error::Error,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::Args;
use guilder_sim::{
    report::{self, scaling},
    results::Results,
};

use super::Verdict;

/// The arguments of `report`.
#[derive(Args)]
pub(crate) struct Report {
    /// A folder that `run --out` wrote into; or several, of one scenario in several sizes;
    /// runs of one size with several seeds count together.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Where the page is written; into the first folder, if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Of several sizes: also write each figure as an SVG file into this folder, and print their numbers as a table.
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
}

impl Report {
    pub(super) fn run(self) -> Verdict {
        let read: Vec<Results> = self.folders.iter().map(|folder| read(folder)).collect::<Result<_, _>>()?;
        let page = self.out.clone().unwrap_or_else(|| self.folders[0].join("report.html"));
        if let [results] = read.as_slice() {
            let scenario = fs::read_to_string(self.folders[0].join("scenario.toml")).unwrap_or_default();
            fs::write(&page, report::html(results, &scenario))?;
        } else {
            self.sizes(&read, &page)?;
        }
        println!("{}", page.display());
        Ok(true)
    }

    fn sizes(&self, read: &[Results], page: &Path) -> Result<(), Box<dyn Error>> {
        let rows = scaling::Row::by_size(read);
        fs::write(page, report::html_of_sizes(&read[0].summary.scenario, &rows))?;
        let Some(folder) = &self.figures else { return Ok(()) };
        fs::create_dir_all(folder)?;
        for (name, plot) in scaling::figures(&rows) {
            fs::write(folder.join(name).with_extension("svg"), plot.standalone())?;
        }
        for table in scaling::tables(&rows) {
            println!("{}", scaling::markdown(&table));
        }
        Ok(())
    }
}

fn read(folder: &Path) -> Result<Results, String> {
    let path = folder.join("results.jsonl");
    let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Results::read(BufReader::new(file)).map_err(|error| format!("{}: {error}", path.display()))
}

//! The crash matrix: trades between real processes and a real mint, in each mode, in a chain of three and on a grant, while one of
//! them is killed (kill -9), its disk is full, its clock turned, or a message or a mint's reply is dropped, repeated or delayed. Then
//! whoever was struck is started again, and every [check](checks) must hold.
//!
//! `cargo test -p guilder-tests --test crashes` tries a part. With `GUILDER_CRASHES=all` it tries every point, at every commit of the
//! store too; with `GUILDER_CRASHES=TEXT` the rows that contain TEXT: `GUILDER_CRASHES='escrow seller kill:'`. `-- --nocapture`
//! prints the table. What it last came to stands in docs/studies/crash-matrix.md.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod checks;
mod market;
mod rows;

use std::{
    env, fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use guilder_tests::{Home, Ran, swarm};

use self::{
    market::{Came, Course, Market, Shape},
    rows::{Act, Part, Row},
};

const PREPAID: Course = Course { shape: Shape::Pair, mode: "prepaid" };
const ESCROW: Course = Course { shape: Shape::Pair, mode: "escrow" };
const CHAIN: Course = Course { shape: Shape::Chain, mode: "prepaid" };
const ESCROW_CHAIN: Course = Course { shape: Shape::Chain, mode: "escrow" };
const GRANT: Course = Course { shape: Shape::Grant, mode: "prepaid" };

#[test]
fn prepaid_trades_outlive_every_fault() {
    matrix(PREPAID);
}

#[test]
fn trades_in_escrow_outlive_every_fault() {
    matrix(ESCROW);
}

#[test]
fn prepaid_chains_outlive_every_fault() {
    matrix(CHAIN);
}

#[test]
fn chains_in_escrow_outlive_every_fault() {
    matrix(ESCROW_CHAIN);
}

#[test]
fn grants_outlive_every_fault() {
    matrix(GRANT);
}

#[test]
fn a_fault_that_there_is_not_is_refused() {
    let home = Home::new(swarm::LOOPBACK);
    let mut command = home.command();
    command.args(["--json", "up"]).env("GUILDER_FAILPOINT", "kill:store-everything");
    let failed = Ran::of(command, b"").failed().says("ours", &["GUILDER_FAILPOINT", "store-award", "unset"]);
    assert_eq!(failed.exit, 2);
}

/// What a course's rows came to.
#[derive(Default)]
struct Tally {
    points: usize,
    failed: Vec<String>,
}

/// Tries the rows of a course that are wanted, and prints what each came to.
fn matrix(course: Course) {
    let wanted = env::var("GUILDER_CRASHES").ok();
    let is_wanted = |row: &Row| match wanted.as_deref() {
        None => row.part == Part::Ci,
        Some("all") => true,
        Some(text) => text.split(' ').all(|word| format!("{course} {row}").contains(word)),
    };
    let rows: Vec<Row> = rows::of(course).into_iter().filter(is_wanted).collect();
    let mut tally = Tally::default();
    let mut market = None;
    let mut small = None;
    for row in rows {
        // A party on a small disk is another's market.
        if row.act.small_disk(row.victim) != small && market.is_some() {
            close(&mut market, course, &mut tally);
        }
        small = row.act.small_disk(row.victim);
        for number in 1..=row.act.most() {
            let began = Instant::now();
            let came = catch_unwind(AssertUnwindSafe(|| {
                if market.is_none() {
                    market = Market::open_with(course, small);
                }
                market.as_mut().map(|market| row.play(market, number))
            }));
            let line = format!("{course:<17} {:<13} {:<34}", row.victim.name(), row.act.at(number));
            match came {
                Ok(Some(Came::To(outcome))) => {
                    tally.points += 1;
                    println!("{line} {:>5.1} s  lost 0  {outcome}", began.elapsed().as_secs_f64());
                }
                Ok(Some(Came::Later(outcome))) => {
                    tally.points += 1;
                    println!("{line} {:>5.1} s  at end  {outcome}", began.elapsed().as_secs_f64());
                }
                Ok(Some(Came::Nothing)) if row.act.most() > 1 => {
                    println!(
                        "{line} {:>5.1} s          no such commit: the trade was over",
                        began.elapsed().as_secs_f64()
                    );
                    break;
                }
                Ok(Some(Came::Nothing)) => {
                    println!("{line} NEVER CAME TO IT");
                    tally.failed.push(format!("{line} never came to it"));
                }
                Ok(None) => println!("{line} SKIPPED: this user may not mount a disk"),
                Err(panic) => {
                    tally.failed.push(format!("{line} FAILED: {}", said(&*panic)));
                    println!("{line} FAILED: {}", said(&*panic).chars().take(400).collect::<String>());
                    market.take().iter().for_each(Market::print_logs);
                }
            }
        }
    }
    close(&mut market, course, &mut tally);
    let lost = if tally.failed.is_empty() { "coins lost: 0" } else { "see the failures" };
    println!("{course:<17} {} points, {} failed, {lost}", tally.points, tally.failed.len());
    assert!(tally.failed.is_empty(), "of {} points:\n{}", tally.points, tally.failed.join("\n"));
}

/// All that was locked in vain comes back, and every coin is in one place.
fn close(market: &mut Option<Market>, course: impl fmt::Display, tally: &mut Tally) {
    let Some(market) = market.take() else { return };
    match catch_unwind(AssertUnwindSafe(|| market.close())) {
        Ok(()) => println!("{course:<17} at the end everything is back, every check holds, lost 0"),
        Err(panic) => {
            let failed = format!("{course}: at the end: {}", said(&*panic));
            println!("{failed}");
            market.print_logs();
            tally.failed.push(failed);
        }
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

impl Act {
    /// Its name in the table.
    pub(crate) fn at(&self, number: u64) -> String {
        match self {
            Self::Sweep(step) => format!("{step}*{number}"),
            Self::Fault(fault) => (*fault).to_owned(),
            Self::Grant(fault) => format!("granting {fault}"),
            Self::Revoke(fault) => format!("revoking {fault}"),
            Self::AtWork(blow) => format!("{blow:?} at work"),
        }
    }
}

#![allow(clippy::unwrap_used)]
use super::*;
use crate::results::{Flow, Violation};

#[test]
fn text_from_a_run_cannot_break_the_page() {
    let mut results = Results::default();
    results.summary.scenario = "<script>".into();
    results.violations.push(Violation { what: "a < b".into(), last_events: vec!["&".into()], ..Violation::default() });
    results.flows.push(Flow { from: "\"".into(), ..Flow::default() });
    let page = html(&results, "name = \"<b>\"");
    assert!(!page.contains("<script>") && !page.contains("<b>\"") && page.contains("a &lt; b"));
}

#[test]
fn an_empty_run_makes_a_page() {
    let page = html(&Results::default(), "");
    assert!(page.contains("Nothing that must hold was broken") && !page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn a_plot_stays_within_its_frame() {
    let line = Series::new("line", vec![(0.0, 0.0), (3.0, 7.0), (250_000.0, 1.0)]).marked();
    for plot in [Plot::new("x", "y").with(line.clone()), Plot::new("x", "y").logarithmic().with(line)] {
        let svg = plot.svg();
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((0.0..=860.0).contains(&x) && (0.0..=300.0).contains(&y), "{point}");
        }
    }
    assert_eq!(Plot::new("x", "y").svg(), "");
}

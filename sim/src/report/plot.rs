//! Plots as SVG text: lines over an axis, and bars.

use std::fmt::Write as _;

/// Colours that also those tell apart who don't see red and green (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c"];
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 30.0;
const LINE: f64 = 16.0;
/// How wide a letter is, about.
const LETTER: f64 = 7.0;
const BOTTOM: f64 = 44.0;
/// More points than pixels show nothing more.
const POINTS: usize = 1_000;

/// Makes text safe within HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    marked: bool,
    dashed: bool,
}

impl Series {
    /// A line through points.
    pub fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, marked: false, dashed: false }
    }

    /// Which share of the values is at most so large.
    pub fn shares(name: &str, values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let all = values.len() as f64;
        let points = values.into_iter().enumerate().map(|(index, value)| (value, (index + 1) as f64 / all));
        Self::new(name, points.collect())
    }

    /// With a dot at each point.
    #[must_use]
    pub fn marked(mut self) -> Self {
        self.marked = true;
        self
    }

    fn legend_width(&self) -> f64 {
        LETTER * self.name.chars().count() as f64 + 36.0
    }

    /// How its line is broken: where colours repeat, otherwise than before.
    fn dashes(&self, index: usize) -> &'static str {
        match index / COLOURS.len() {
            _ if self.dashed => " stroke-dasharray=\"6 4\"",
            0 => "",
            _ => " stroke-dasharray=\"2 3\"",
        }
    }

    /// Dashed, for what is compared with.
    #[must_use]
    pub fn dashed(mut self) -> Self {
        self.dashed = true;
        self
    }
}

/// Lines over an axis.
#[derive(Clone, Debug)]
pub struct Plot {
    x: String,
    y: String,
    logarithmic: bool,
    series: Vec<Series>,
}

impl Plot {
    /// An empty plot with its axes' names.
    pub fn new(x: &str, y: &str) -> Self {
        Self { x: x.into(), y: y.into(), logarithmic: false, series: Vec::new() }
    }

    /// With a logarithmic horizontal axis; values below 1 are drawn at 1.
    #[must_use]
    pub fn logarithmic(mut self) -> Self {
        self.logarithmic = true;
        self
    }

    /// With another line; one without points isn't drawn.
    #[must_use]
    pub fn with(mut self, series: Series) -> Self {
        if !series.points.is_empty() {
            self.series.push(series);
        }
        self
    }

    /// The plot as a file of its own, which needs no page around it.
    pub fn standalone(&self) -> String {
        const STYLE: &str = "<style>text{fill:#222;font:12px system-ui,sans-serif}.grid{stroke:#ddd}.axis{stroke:#222}</style>\n\
                             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
        self.svg().replacen(">\n", &format!(">\n{STYLE}"), 1)
    }

    /// The plot; empty if it has no line.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        if points().next().is_none() {
            return String::new();
        }
        let top = TOP + self.legend_top();
        let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let x = Scale::new(least, points().map(|point| point.0).fold(0.0, f64::max), self.logarithmic);
        let y = Scale::new(0.0, points().map(|point| point.1).fold(0.0, f64::max), false);
        let right = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
        let up = |value: f64| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - top - BOTTOM);
        let mut svg = open(HEIGHT, &format!("{} over {}", self.y, self.x));
        self.grid(&mut svg, &x, &y, top, &right, &up);
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let thin = thin(&series.points);
            let line: Vec<String> = thin.iter().map(|(x, y)| format!("{:.1},{:.1}", right(*x), up(*y))).collect();
            let dashes = series.dashes(index);
            let line = line.join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"
            );
            if series.marked {
                for (x, y) in &thin {
                    let _ = writeln!(
                        svg,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                        right(*x),
                        up(*y)
                    );
                }
            }
        }
        self.legend(&mut svg);
        svg + "</svg>\n"
    }

    fn grid(
        &self,
        svg: &mut String,
        x: &Scale,
        y: &Scale,
        top: f64,
        right: &dyn Fn(f64) -> f64,
        up: &dyn Fn(f64) -> f64,
    ) {
        let (bottom, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in y.ticks() {
            let at = up(tick);
            let label = short(tick);
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
            let _ =
                writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, at + 4.0);
        }
        for tick in x.ticks() {
            let at = right(tick);
            let label = short(tick);
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
            let _ =
                writeln!(svg, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", bottom + 16.0);
        }
        let _ = writeln!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{bottom}\" y2=\"{bottom}\"/>");
        let (middle, below) = (f64::midpoint(LEFT, end), HEIGHT - 8.0);
        let _ = writeln!(svg, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", escape(&self.x));
        let _ = writeln!(svg, "<text x=\"4\" y=\"14\">{}</text>", escape(&self.y));
    }

    fn legend(&self, svg: &mut String) {
        let (mut at, middle) = (WIDTH - RIGHT, self.legend_top() + 10.0);
        for (index, series) in self.series.iter().enumerate().rev() {
            let colour = COLOURS[index % COLOURS.len()];
            at -= series.legend_width();
            let (end, dashes) = (at + 20.0, series.dashes(index));
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{end:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"{colour}\" \
                 stroke-width=\"3\"{dashes}/>"
            );
            let name = escape(&series.name);
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>", at + 24.0, middle + 4.0);
        }
    }

    /// The legend has a line of its own where there is no room for it beside the vertical axis's name.
    fn legend_top(&self) -> f64 {
        let legend: f64 = self.series.iter().map(Series::legend_width).sum();
        if LEFT + LETTER * self.y.chars().count() as f64 + legend > WIDTH { LINE } else { 0.0 }
    }
}

/// Bars, one under the other, each with its name and its value.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What is counted.
    pub unit: &'static str,
    /// Names and values.
    pub bars: Vec<(String, f64)>,
}

impl Bars {
    /// The bars; empty if there are none.
    pub fn svg(&self) -> String {
        const ROW: f64 = 22.0;
        const NAMES: f64 = 330.0;
        if self.bars.is_empty() {
            return String::new();
        }
        let most = self.bars.iter().map(|(_, value)| *value).fold(1.0, f64::max);
        let mut svg = open(ROW * self.bars.len() as f64 + 6.0, self.unit);
        for (index, (name, value)) in self.bars.iter().enumerate() {
            let top = ROW * index as f64 + 3.0;
            let width = value / most * (WIDTH - NAMES - 120.0);
            let name: String = name.chars().take(52).collect();
            let middle = top + 13.0;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
                NAMES - 8.0,
                escape(&name)
            );
            let colour = COLOURS[0];
            let _ =
                writeln!(svg, "<rect x=\"{NAMES}\" y=\"{top}\" width=\"{width:.1}\" height=\"16\" fill=\"{colour}\"/>");
            let after = NAMES + width + 6.0;
            let _ = writeln!(svg, "<text x=\"{after:.1}\" y=\"{middle}\">{} {}</text>", short(*value), self.unit);
        }
        svg + "</svg>\n"
    }
}

fn open(height: f64, label: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escape(label)
    )
}

/// Where values stand between the ends of an axis.
struct Scale {
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    fn new(least: f64, most: f64, logarithmic: bool) -> Self {
        if logarithmic {
            let (least, most) = (least.max(1.0), most.max(1.0));
            let under = round_numbers(least, most).rfind(|round| *round <= least).unwrap_or(least);
            let over = round_numbers(least, most).find(|round| *round >= most && *round > under).unwrap_or(most);
            return Self { from: under.log10(), to: over.log10(), logarithmic };
        }
        let most = if most > 0.0 { most } else { 1.0 };
        Self { from: 0.0, to: most * 1.02, logarithmic }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(1.0).log10() } else { value };
        (value - self.from) / (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let (from, to) = (10_f64.powf(self.from), 10_f64.powf(self.to));
            let crowded = to > from * 10_000.0;
            let shown = |round: &f64| *round >= from * 0.99 && *round <= to * 1.01;
            let ticks = round_numbers(from, to).filter(shown);
            return ticks.filter(|round| !crowded || round.log10().fract().abs() < 0.01).collect();
        }
        let rough = self.to / 8.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        (0..=(self.to / step) as u32).map(|tick| f64::from(tick) * step).collect()
    }
}

/// 1, 2, 5, 10, 20, … from below `from` to above `to`.
fn round_numbers(from: f64, to: f64) -> impl DoubleEndedIterator<Item = f64> {
    let powers = from.log10().floor() as i32..=to.log10().floor() as i32 + 1;
    powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
}

/// A number as short as it can be read.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        large if large >= 1e6 => (large / 1e6, "M"),
        large if large >= 1e4 => (large / 1e3, "k"),
        small => (small, ""),
    };
    let text = format!("{value:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Every so many points, and the last.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(POINTS).max(1);
    let mut kept: Vec<_> = points.iter().step_by(every).copied().collect();
    if every > 1 {
        kept.extend(points.last().copied());
    }
    kept
}

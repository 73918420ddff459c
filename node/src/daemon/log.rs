//! The log: what rooms trace and what the event stream tells, on standard error.
//!
//! For people a line is `time LEVEL room: what key=value …`; for machines it is one flat JSON object with `timestamp`,
//! `level` and `target`, and then either `message` with its fields, or `event` with those of [`crate::events::Event`].
//!
//! What libraries log can be caused by strangers, as often as they like. So of each such place in a library's code no more than
//! [`LINES_PER_SEC`] lines a second are written.
//!
//! Every line passes [`harmless`] here: what a peer, a mint or a program's standard error says can neither begin a line of
//! its own nor steer the terminal that the log is read on.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Writer, debug_fn},
        time::{FormatTime as _, SystemTime},
        writer::MakeWriterExt as _,
    },
    registry::LookupSpan,
};

use crate::{
    config::{LogConfig, LogFormat},
    console::{harmless, is_coloured},
    sync::lock,
};

/// The field by which an event of the stream brings itself as JSON.
const EVENT_JSON: &str = "event_json";

/// Lines that one place in a library's code may write in a second.
const LINES_PER_SEC: u32 = 10;

/// Places in libraries' code that are told apart; those beyond share one rate.
const MAX_PLACES: usize = 1_024;

/// What is logged where somebody reads along who didn't say what.
const QUIET: &str = "warn,libp2p=error,rmcp=off";

/// Begins to log, `quiet` no more than warnings. The first call in a process counts.
pub(crate) fn start(config: &LogConfig, quiet: bool) {
    let filter = if quiet { QUIET } else { &config.filter };
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(filter)).unwrap_or_default();
    let builder = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr.with_filter(is_within_rate));
    // Fails only if a log is there already, and then it is the one to keep.
    match config.format {
        LogFormat::Text => {
            let fields = debug_fn(|writer, field, value| text_field(writer, field, value));
            let line = TextLine { timed: true };
            let builder = builder.with_ansi(is_coloured(&std::io::stderr())).fmt_fields(fields).event_format(line);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            if builder.try_init().is_ok() && !quiet {
                let _ = CHANGE.set(Box::new(move |filter| handle.reload(filter).is_ok()));
            }
        }
        LogFormat::Json => {
            let builder = builder.event_format(JsonLine).with_filter_reloading();
            let handle = builder.reload_handle();
            if builder.try_init().is_ok() && !quiet {
                let _ = CHANGE.set(Box::new(move |filter| handle.reload(filter).is_ok()));
            }
        }
    }
}

/// Changes what is logged from now on. False if it can't be: `RUST_LOG` goes first, or somebody reads along who didn't say what.
pub(crate) fn filter(filter: &str) -> bool {
    let is_given = std::env::var_os(EnvFilter::DEFAULT_ENV).is_some_and(|given| !given.is_empty());
    match (CHANGE.get(), EnvFilter::try_new(filter)) {
        (Some(change), Ok(filter)) if !is_given => change(filter),
        _ => false,
    }
}

/// Puts another filter in the place of the log's; once there is a log.
static CHANGE: OnceLock<Box<dyn Fn(EnvFilter) -> bool + Send + Sync>> = OnceLock::new();

/// Whether a line is this node's own, or not one too many of its place in a library.
fn is_within_rate(line: &Metadata<'_>) -> bool {
    static RATES: Mutex<Option<Rates>> = Mutex::new(None);
    let own = line.target() == "guilder" || line.target().starts_with("guilder::");
    own || lock(&RATES).get_or_insert_default().take(&line.callsite(), Instant::now())
}

/// The lines of each place since its current second began.
#[derive(Default)]
struct Rates(HashMap<Option<Identifier>, (Instant, u32)>);

impl Rates {
    fn take(&mut self, place: &Identifier, now: Instant) -> bool {
        let place =
            Some(place.clone()).filter(|place| self.0.len() < MAX_PLACES || self.0.contains_key(&Some(place.clone())));
        let (since, lines) = self.0.entry(place).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *lines) = (now, 0);
        }
        *lines += 1;
        *lines <= LINES_PER_SEC
    }
}

fn text_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        EVENT_JSON => Ok(()),
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, " {name}={value:?}"),
    }
}

/// Writes a line of the log for people.
struct TextLine {
    timed: bool,
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (dim, colour, off) = match (writer.has_ansi_escapes(), *event.metadata().level()) {
            (false, _) => ("", "", ""),
            (true, Level::ERROR) => ("\x1b[2m", "\x1b[31m", "\x1b[0m"),
            (true, Level::WARN) => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
            (true, Level::INFO) => ("\x1b[2m", "\x1b[32m", "\x1b[0m"),
            (true, _) => ("\x1b[2m", "\x1b[34m", "\x1b[0m"),
        };
        if self.timed {
            write!(writer, "{dim}")?;
            SystemTime.format_time(&mut writer)?;
            write!(writer, "{off} ")?;
        }
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        let (level, target) = (event.metadata().level(), event.metadata().target());
        writeln!(writer, "{colour}{level:>5}{off} {dim}{target}:{off} {}", harmless::one_line(&fields))
    }
}

/// Writes a line of the log as a JSON object.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        writeln!(writer, "{}", harmless::json(&Value::Object(json_line(time, event)).to_string()))
    }
}

fn json_line(time: String, event: &Event<'_>) -> Map<String, Value> {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let mut line = fields.0;
    if let Some(Value::String(json)) = line.remove(EVENT_JSON)
        && let Ok(Value::Object(told)) = serde_json::from_str(&json)
    {
        line = told;
    }
    line.insert("timestamp".into(), time.into());
    line.insert("level".into(), event.metadata().level().as_str().into());
    line.insert("target".into(), event.metadata().target().into());
    line
}

/// The fields of a line, by name.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;
    use crate::events::{self, Events};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn speak() {
        tracing::info!(limit = 3, "a plain line");
        Events::new().emit(events::Event::Ready { took_ms: 17 });
    }

    #[test]
    fn a_log_in_json_has_the_fields_of_its_events() {
        let written = Written::default();
        let writer = written.clone();
        let builder = tracing_subscriber::fmt().event_format(JsonLine).with_writer(move || writer.clone());
        tracing::subscriber::with_default(builder.finish(), speak);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["message"], &lines[0]["limit"]), (&"a plain line".into(), &3.into()));
        assert_eq!((&lines[1]["event"], &lines[1]["took_ms"]), (&"ready".into(), &17.into()));
        assert_eq!((&lines[1]["level"], &lines[1]["target"]), (&"INFO".into(), &"guilder::events".into()));
    }

    #[test]
    fn given_a_place_in_a_library_that_logs_much_few_of_its_lines_are_written() {
        let written = Written::default();
        let writer = written.clone();
        let builder = tracing_subscriber::fmt().with_writer((move || writer.clone()).with_filter(is_within_rate));
        tracing::subscriber::with_default(builder.finish(), || {
            for _ in 0..200 {
                tracing::error!(target: "libp2p_gossipsub::behaviour", "a stranger did this");
                tracing::error!("this node did that");
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |what| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("this node did that"), 200);
        // Logging takes no second, or few.
        assert!((1..=LINES_PER_SEC as usize * 10).contains(&count("a stranger did this")));
    }

    #[test]
    fn a_log_for_people_says_each_thing_once() {
        let written = Written::default();
        let writer = written.clone();
        let fields = debug_fn(|writer, field, value| text_field(writer, field, value));
        let builder = tracing_subscriber::fmt().with_ansi(false).fmt_fields(fields);
        let builder = builder.event_format(TextLine { timed: false }).with_writer(move || writer.clone());
        tracing::subscriber::with_default(builder.finish(), speak);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().ends_with(": a plain line limit=3"), "{text}");
        assert!(lines.next().unwrap().ends_with("guilder::events: ready took_ms=17"), "{text}");
    }

    /// What a program that works for a stranger writes to its standard error.
    const FORGED: &str =
        "oops\n2026-11-23T13:24:23Z  INFO guilder::events: redeemed sum=999999sat\r\x1b[2K\u{9b}31m\u{202e}";

    fn forge() {
        tracing::warn!(stderr = %FORGED, "the program failed: {FORGED}");
        Events::new().emit(events::Event::Stopping { reason: FORGED.into() });
    }

    fn written_by(forge: impl FnOnce(Written)) -> String {
        let written = Written::default();
        forge(written.clone());
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_a_stranger_says_makes_no_line_of_its_own_in_either_log() {
        let text = written_by(|writer| {
            let fields = debug_fn(|writer, field, value| text_field(writer, field, value));
            let builder = tracing_subscriber::fmt().with_ansi(false).fmt_fields(fields);
            let builder = builder.event_format(TextLine { timed: true }).with_writer(move || writer.clone());
            tracing::subscriber::with_default(builder.finish(), forge);
        });
        let json = written_by(|writer| {
            let builder = tracing_subscriber::fmt().event_format(JsonLine).with_writer(move || writer.clone());
            tracing::subscriber::with_default(builder.finish(), forge);
        });
        for log in [&text, &json] {
            assert_eq!(log.lines().count(), 2, "{log}");
            let harmful = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!log.contains(harmful), "{log}");
        }
        let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["stderr"], FORGED, "for machines it is what was written");
    }
}

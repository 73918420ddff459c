//! `guilder watch`

use std::{collections::VecDeque, time::Duration};

use guilder_protocol::time::Timestamp;
use hyper::Method;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Context, in_words,
    status::{duration, peers_in_words},
    task, wait_for, wallet,
};
use crate::{
    api::{
        client::{Client, ClientError, Lines, empty},
        types::{Balance, NodeEvent, Status, TaskView},
    },
    console::{CliError, Exit, Key, Look, Screen, harmless::one_line, table_as},
};

/// How often the node is asked how it does; what happens is heard at once.
const REFRESH: Duration = Duration::from_secs(2);

/// Between two drawings: faster is what nobody sees.
const FRAME: Duration = Duration::from_millis(100);

/// Events that are kept for a taller screen.
const KEPT_EVENTS: usize = 200;

/// Tasks that are asked for.
const TASKS: usize = 20;

/// Follow the running node live.
///
/// At a terminal: one screen of its money, its tasks and what happens, as it happens; q ends it. Elsewhere, and with --json: a line for
/// each event, until it is stopped. With --after it begins with what happened since.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First what is kept of what came after the event with this number (`seq` in --json); 0 for all that is kept.
    #[arg(long, value_name = "N")]
    after: Option<u64>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    wait_for(async {
        let client = context.client()?;
        let path = args.after.map_or_else(|| "/v1/events".to_owned(), |after| format!("/v1/events?after={after}"));
        let events = client.lines(Method::GET, &path, empty()).await?;
        let screen = if context.printer.json() || args.after.is_some() { None } else { terminal(Screen::begin())? };
        match screen {
            Some(screen) => {
                if live(screen, &client, events).await? == Ended::Stopped {
                    context.printer.note("The node has stopped.");
                }
            }
            None => lines(events, context).await?,
        }
        Ok(Exit::Done)
    })
}

fn terminal<T>(done: std::io::Result<T>) -> Result<T, CliError> {
    done.map_err(|cause| CliError::io("can't use the terminal", &cause))
}

/// A line for each event.
async fn lines(mut events: Lines<NodeEvent>, context: &Context) -> Result<(), CliError> {
    while let Some(event) = heard(events.next().await)? {
        if let Some((at, said)) = said(&event) {
            context.printer.line(&event, format_args!("{at}  {}", one_line(&said)))?;
        }
    }
    Ok(())
}

/// The next event; none once the node is gone.
fn heard(next: Result<Option<NodeEvent>, ClientError>) -> Result<Option<NodeEvent>, CliError> {
    match next {
        // Stopped in the middle of a line, or killed.
        Err(ClientError::Http(_) | ClientError::Io(_)) => Ok(None),
        next => Ok(next?),
    }
}

/// When it was told, or heard, and what it says.
fn said(event: &NodeEvent) -> Option<(Timestamp, String)> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let words = match event {
        NodeEvent::Event(event) => in_words(event),
        NodeEvent::Missed { missed } => format!("{missed} events came too fast to be shown"),
        NodeEvent::Gap { until } => format!("some of what came before event {until} is no longer kept"),
        NodeEvent::Unknown => return None,
    };
    let at = match event {
        NodeEvent::Event(event) if event.event.at > Timestamp::default() => event.event.at,
        _ => Timestamp::from_secs(now.as_secs()),
    };
    Some((at, words))
}

/// What is on the screen.
#[derive(Debug, Default)]
struct Watched {
    status: Option<Status>,
    tasks: Vec<TaskView>,
    events: VecDeque<(Timestamp, String)>,
    /// Why the node couldn't be asked last time.
    trouble: Option<String>,
}

/// How it came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Whoever watched has seen enough.
    Left,
    /// The node is gone.
    Stopped,
}

async fn live(mut screen: Screen, client: &Client, mut events: Lines<NodeEvent>) -> Result<Ended, CliError> {
    let mut watched = Watched::default();
    let mut asking = Box::pin(ask(client, Duration::ZERO));
    let mut draw_at = Some(Instant::now());
    loop {
        let due = draw_at.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            key = screen.key() => match key {
                Key::End => return Ok(Ended::Left),
                Key::Redraw => draw_at = Some(Instant::now()),
            },
            () = sleep_until(due), if draw_at.is_some() => {
                let (columns, rows) = screen.size();
                terminal(screen.draw(&watched.frame(columns, rows)))?;
                draw_at = None;
            }
            event = events.next() => {
                let Some(event) = heard(event)? else { return Ok(Ended::Stopped) };
                watched.hear(&event);
                draw_at = draw_at.or(Some(Instant::now() + FRAME));
            }
            answer = &mut asking => {
                watched.take(answer);
                asking = Box::pin(ask(client, REFRESH));
                draw_at = draw_at.or(Some(Instant::now()));
            }
        }
    }
}

/// How the node does, after a pause.
async fn ask(client: &Client, pause: Duration) -> Result<(Status, Vec<TaskView>), ClientError> {
    sleep(pause).await;
    Ok((client.get("/v1/status").await?, client.get(&format!("/v1/tasks?limit={TASKS}")).await?))
}

impl Watched {
    fn hear(&mut self, event: &NodeEvent) {
        if self.events.len() >= KEPT_EVENTS {
            self.events.pop_front();
        }
        self.events.extend(said(event));
    }

    fn take(&mut self, answer: Result<(Status, Vec<TaskView>), ClientError>) {
        match answer {
            Ok((status, tasks)) => (self.status, self.tasks, self.trouble) = (Some(status), tasks, None),
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    /// The screen, line by line: money, a third for tasks, and the rest for what happened last.
    fn frame(&self, columns: usize, rows: usize) -> Vec<String> {
        let look = Look { width: Some(columns), ..Look::now().clone() };
        let mut lines = self.head(&look);
        if let Some(status) = &self.status {
            lines.extend(section("MONEY", money(&look, &status.balances)));
            let room = (rows / 3).max(4);
            let mut tasks = section("TASKS", self.task_table(&look));
            tasks.truncate(room);
            lines.extend(tasks);
        }
        lines.extend([String::new(), "EVENTS".to_owned()]);
        let room = rows.saturating_sub(lines.len() + 1);
        let events = self.events.iter().skip(self.events.len().saturating_sub(room));
        lines.extend(events.map(|(at, said)| {
            let at = at.to_string();
            let clock = at.get(11..19).unwrap_or(&at);
            format!("{clock}  {}", one_line(&look.aliases.put_into(said)))
        }));
        lines.resize(rows.saturating_sub(1), String::new());
        lines.push("q ends".to_owned());
        lines
    }

    fn head(&self, look: &Look) -> Vec<String> {
        let Some(status) = &self.status else {
            return vec![self.trouble.clone().unwrap_or_else(|| "asking the node …".to_owned())];
        };
        let Status { peer_id, uptime_secs, services, open_tasks, .. } = status;
        let mut lines = vec![
            look.aliases.put_into(&format!("guilder  {peer_id}")),
            format!(
                "up {}  {services} service{} on sale  {open_tasks} open task{}",
                duration(*uptime_secs),
                plural(*services),
                plural(*open_tasks)
            ),
        ];
        lines.extend(
            peers_in_words(status)
                .iter()
                .enumerate()
                .map(|(at, line)| if at == 0 { format!("peers {line}") } else { format!("  {line}") }),
        );
        lines.extend(self.trouble.iter().map(|trouble| format!("the node doesn't answer: {}", one_line(trouble))));
        lines
    }

    fn task_table(&self, look: &Look) -> String {
        let row = |task: &TaskView| {
            let progress = task.progress.as_ref().and_then(|progress| progress.permille);
            vec![
                task::short(&task.id),
                task::side(task).to_owned(),
                task.service.to_string(),
                task.state.clone(),
                task::price(task),
                task.peer.clone().unwrap_or_default(),
                progress.map(|permille| format!("{} %", permille / 10)).unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = self.tasks.iter().map(row).collect();
        let mut text = String::new();
        let header = ["ID", "SIDE", "SERVICE", "STATE", ">PRICE", "PEER", ">AT"];
        // A String takes everything.
        let _ = table_as(look, &mut text, &header, &rows, "none yet");
        text
    }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn section(title: &str, text: String) -> Vec<String> {
    [String::new(), title.to_owned()].into_iter().chain(text.lines().map(str::to_owned)).collect()
}

fn money(look: &Look, balances: &[Balance]) -> String {
    if balances.is_empty() {
        return "none yet".to_owned();
    }
    let mut text = String::new();
    // A String takes everything.
    let _ = wallet::balances_as(look, &mut text, balances);
    look.aliases.put_into(&text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        api::types::DescribedEvent,
        events::{Event, Stamped},
    };

    fn status() -> Status {
        serde_json::from_value(serde_json::json!({
            "version": "0.1.0", "peer_id": "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq", "did": "did:key:z6Mk",
            "home": "/h", "uptime_secs": 75, "listen": [], "peers": 0, "services": 1, "open_tasks": 2, "hosted_mint": [],
            "mint_books": [], "bootstrap": [{ "address": "/ip4/192.0.2.7/tcp/1", "connected": false, "error": "refused" }],
            "balances": [{ "mint": "https://mint.example", "unit": "sat", "available": 1200, "purse": 0, "at_risk": 7,
                "waiting": 0, "earned": 0, "pending": 0, "account": crate::wallet::Account::default() }],
        }))
        .unwrap()
    }

    #[test]
    fn a_screen_is_as_tall_and_as_wide_as_the_terminal_and_ends_with_what_happened_last() {
        let mut watched = Watched { status: Some(status()), ..Watched::default() };
        for number in 0..KEPT_EVENTS as u64 + 50 {
            let event = Stamped {
                seq: number,
                at: Timestamp::default(),
                at_ms: 0,
                event: Event::Stopping { reason: format!("reason {number}") },
            };
            watched.hear(&NodeEvent::Event(Box::new(DescribedEvent::from(&event))));
        }
        assert_eq!(watched.events.len(), KEPT_EVENTS);
        for (columns, rows) in [(80, 24), (120, 50), (40, 10)] {
            let frame = watched.frame(columns, rows);
            assert_eq!(frame.len(), rows.max(frame.len().min(rows)), "{frame:#?}");
            assert_eq!(frame.last().unwrap(), "q ends");
        }
        let frame = watched.frame(80, 24);
        assert!(frame[22].ends_with("stopping: reason 249"), "{frame:#?}");
        let text: Vec<_> =
            frame.iter().map(|line| line.get(10..).filter(|_| line.contains("stopping")).unwrap_or(line)).collect();
        insta::assert_snapshot!(text[..14].join("\n"), @r"
        guilder  12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq
        up 1 min 15 s  1 service on sale  2 open tasks
        peers 0: 1 of 1 bootstrap peer doesn't answer:
          /ip4/192.0.2.7/tcp/1: refused

        MONEY
        https://mint.example
          AVAILABLE  IN PURSE  AT RISK  FALLING BACK  EARNED  UNDER WAY
           1200 sat         -    7 sat             -       -          -

        TASKS
        none yet

        EVENTS
        ");
    }

    #[test]
    fn given_no_answer_the_screen_says_so() {
        let watched = Watched { trouble: Some("nobody".into()), ..Watched::default() };
        assert_eq!(watched.frame(80, 5)[0], "nobody");
        let watched = Watched { status: Some(status()), trouble: Some("silent".into()), ..Watched::default() };
        assert!(watched.frame(80, 24).iter().any(|line| line == "the node doesn't answer: silent"));
    }
}

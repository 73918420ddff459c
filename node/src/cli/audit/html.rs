//! A task as a page of its own: who did what for whom, on whose authority, for how much, how long, and where it failed.
//!
//! One file with one drawing, and nothing that is loaded: no script, no style, font or picture from elsewhere. Whatever others
//! wrote is escaped.

use std::fmt::Write as _;

use guilder_protocol::{
    audit::{Hire, Report},
    identity::AgentId,
    receipt::Outcome,
};

use crate::console::harmless::one_line;

/// A box of the drawing.
const WIDTH: usize = 760;
const HEIGHT: usize = 92;
/// From one box to the next, downwards and to the right.
const STEP: usize = 112;
const INDENT: usize = 48;

/// The page.
pub(super) fn page(report: &Report) -> String {
    let tree = report.tree();
    let deepest = tree.iter().map(|(depth, _)| *depth).max().unwrap_or_default();
    let (width, height) = (WIDTH + deepest * INDENT + 24, tree.len() * STEP + 12);
    let mut drawing = String::new();
    for (row, (depth, hire)) in tree.iter().enumerate() {
        let above = tree[..row].iter().rposition(|(_, above)| Some(above.award) == hire.under);
        draw(&mut drawing, (row, *depth), above, hire);
    }
    let mut sentences = String::new();
    for sentence in report.hires.iter().filter_map(|hire| report.responsibility(hire)) {
        // Writing to a string never fails.
        let _ = write!(sentences, "<li>{}</li>", escaped(&sentence));
    }
    let said = if sentences.is_empty() { String::new() } else { format!("<h2>Who answers</h2><ul>{sentences}</ul>") };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Task {task}</title>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <style>body{{font:15px sans-serif;margin:2em}}text{{font:13px monospace}}li{{margin:.5em 0}}</style></head>\
         <body><h1>Task</h1><p><code>{task}</code></p>\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" role=\"img\">{drawing}</svg>\
         {said}<p>As the signed statements say. <code>guilder audit verify</code> checks them.</p></body></html>\n",
        task = escaped(&report.task.to_string()),
    )
}

fn draw(out: &mut String, (row, depth): (usize, usize), above: Option<usize>, hire: &Hire) {
    let (x, y) = (8 + depth * INDENT, 8 + row * STEP);
    if let Some(above) = above {
        let (from, joint) = (8 + above * STEP + HEIGHT, x - INDENT / 2);
        let middle = y + HEIGHT / 2;
        let _ =
            write!(out, "<path d=\"M{joint} {from}V{middle}H{x}\" fill=\"none\" stroke=\"#888\" stroke-width=\"2\"/>");
    }
    let colour = match hire.answer.as_str() {
        "delivered" | "received" => "#e3f4e3",
        "accepted" | "open" | "not-understood" => "#f4f0dc",
        _ => "#f9dddd",
    };
    let _ = write!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{colour}\" stroke=\"#888\"/>"
    );
    for (line, text) in words(hire).iter().enumerate() {
        let (x, y) = (x + 12, y + 22 + line * 20);
        let _ = write!(out, "<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(text));
    }
}

fn words(hire: &Hire) -> [String; 4] {
    let args = &hire.args;
    let authority = if hire.principal == hire.buyer {
        "on its own authority".to_owned()
    } else {
        format!("on the authority of {}, through {} delegation(s)", short(hire.principal), args.depth)
    };
    let (time, how) = match &hire.receipt {
        Some(receipt) => {
            let answer = hire.answer.as_str();
            let how = match &receipt.out {
                Outcome::Ok(_) if receipt.ended > args.deadline => {
                    format!("{answer}: its output came after the deadline")
                }
                Outcome::Ok(_) => answer.to_owned(),
                Outcome::Error(error) => {
                    let answer = if answer == "seller-failed" { "failed" } else { answer };
                    format!("{answer}, {}: {}", error.code, error.text)
                }
                Outcome::Other(form) => format!("{answer}: {form}"),
            };
            (format!("worked {} s", receipt.ended.since(receipt.began)), how)
        }
        None if !hire.contradicting.is_empty() => ("more than one receipt".to_owned(), hire.answer.as_str().to_owned()),
        None => ("no receipt".to_owned(), hire.answer.as_str().to_owned()),
    };
    let overspent = if hire.overlaps.is_empty() { "" } else { "; its buyer overspent" };
    [
        format!("{} hired {} for {}", short(hire.buyer), short(args.seller), args.service),
        authority,
        format!("{} {} net, {}; {time}", args.price, args.unit, hire.part.mode()),
        clipped(&(how + overspent)),
    ]
}

fn short(agent: AgentId) -> String {
    let id = agent.peer_id();
    format!("…{}", &id[id.len().saturating_sub(8)..])
}

/// As much of a text as a box holds.
fn clipped(text: &str) -> String {
    const LETTERS: usize = 90;
    let text = one_line(text);
    let mut letters: String = text.chars().take(LETTERS).collect();
    if text.chars().nth(LETTERS).is_some() {
        letters.push('…');
    }
    letters
}

/// A text that is nothing but text to whoever shows the page.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in one_line(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use guilder_protocol::{
        audit::Answer,
        award::AwardArgs,
        bytes::ByteArray,
        cbor::cid_of,
        identity::AgentKey,
        receipt::{FailureCode, ReceiptBody, TaskError},
        settlement::{AwardPart, ReceiptPart, prepaid},
        time::Timestamp,
    };

    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_000_000);

    fn agent(seed: u8) -> AgentId {
        AgentKey::from_seed(&[seed; 32]).id()
    }

    /// A hire that failed, with what its seller said of it.
    fn failed(award: &[u8], under: Option<&[u8]>, (buyer, seller): (u8, u8), text: &str) -> Hire {
        let args = AwardArgs {
            task: cid_of(b"task"),
            service: "text.echo".parse().unwrap(),
            ask: cid_of(b"ask"),
            offer: cid_of(b"offer"),
            input: ByteArray([1; 32]),
            mint: "https://mint.example".parse().unwrap(),
            price: 7,
            unit: "play".parse().unwrap(),
            spent: 7,
            seller: agent(seller),
            deadline: AT.saturating_add(60),
            depth: u64::from(under.is_some()),
        };
        let receipt = ReceiptBody {
            award: cid_of(award),
            offer: args.offer,
            out: Outcome::Error(TaskError { code: FailureCode::Crashed, text: text.into() }),
            money: ReceiptPart::Prepaid(prepaid::ReceiptPart {
                mint: args.mint.clone(),
                unit: args.unit.clone(),
                amount: 8,
                ys: ByteArray([2; 32]),
            }),
            began: AT,
            ended: AT.saturating_add(3),
            sub: vec![],
        };
        Hire {
            award: cid_of(award),
            awarded: AT,
            buyer: agent(buyer),
            principal: agent(1),
            part: AwardPart::Prepaid(prepaid::AwardPart { locktime: AT, ys: ByteArray([2; 32]) }),
            accepted: Some(AT),
            cancelled: None,
            receipt: Some(receipt),
            contradicting: BTreeMap::new(),
            received: None,
            promised: None,
            revoked: vec![],
            under: under.map(cid_of),
            elsewhere: vec![],
            overlaps: vec![],
            answer: Answer::SellerFailed(args.seller),
            args,
        }
    }

    #[test]
    fn a_page_draws_the_tree_loads_nothing_and_runs_nothing_that_others_wrote() {
        let hostile = "</text></svg><script>alert(1)</script><img src=https://evil.example/x onerror='y'>";
        let hires = vec![failed(b"a", None, (1, 2), hostile), failed(b"b", Some(b"a"), (2, 3), "&lt;b onload=\"x\">")];
        let page = page(&Report { task: cid_of(b"task"), hires, unread: vec![] });
        assert_eq!((page.matches("<rect").count(), page.matches("<path").count()), (2, 1), "{page}");
        assert!(page.contains("worked 3 s") && page.contains("through 1 delegation(s)"), "{page}");
        assert!(
            page.contains("&lt;script&gt;alert(1)") && page.contains("&amp;lt;b onload=&quot;x&quot;&gt;"),
            "{page}"
        );
        // The only tags are ours, and none of them loads or runs anything.
        let tags: std::collections::BTreeSet<&str> =
            page.split('<').skip(1).filter_map(|rest| rest.trim_start_matches('/').split([' ', '>']).next()).collect();
        let ours = [
            "!doctype", "body", "code", "h1", "h2", "head", "html", "li", "meta", "p", "path", "rect", "style", "svg",
            "text", "title", "ul",
        ];
        assert_eq!(tags, ours.into_iter().collect());
        assert_eq!(page.matches("://").count() - page.matches("http://www.w3.org/2000/svg").count(), 1, "{page}");
        assert!(page.contains("src=https://evil.example"), "as text alone");
        let [who, whom] = [2, 1].map(|seed| agent(seed).peer_id());
        assert!(page.contains(&format!("{who} answers to {whom}: failed")), "{page}");
    }

    #[test]
    fn a_box_says_what_the_answer_is_and_not_what_the_receipt_alone_would_make_of_it() {
        let mut hire = failed(b"a", None, (1, 2), "x");
        assert_eq!(words(&hire)[3], "failed, crashed: x");
        let out = Outcome::Ok(ByteArray([3; 32]));
        hire.receipt = hire.receipt.map(|receipt| ReceiptBody { out, ended: AT.saturating_add(61), ..receipt });
        assert_eq!(words(&hire)[3], "seller-failed: its output came after the deadline");
        (hire.answer, hire.overlaps) = (Answer::Delivered(agent(2)), vec![cid_of(b"other")]);
        hire.args.deadline = AT.saturating_add(100);
        assert_eq!(words(&hire)[3], "delivered; its buyer overspent");
    }

    #[test]
    fn what_others_wrote_is_text_and_nothing_else() {
        for (hostile, shown) in [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\"><img src=x onerror='x'>", "&quot;&gt;&lt;img src=x onerror=&#39;x&#39;&gt;"),
            ("]]></svg>&amp;", "]]&gt;&lt;/svg&gt;&amp;amp;"),
        ] {
            assert_eq!(escaped(hostile), shown);
        }
        for control in ['\u{1b}', '\u{202e}', '\0', '\n'] {
            assert!(!escaped(&format!("a{control}b")).contains(control), "{control:?}");
        }
        assert_eq!(clipped(&"x".repeat(500)).chars().count(), 91);
    }
}

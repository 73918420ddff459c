//! Listings: what a page costs, what it holds, and how far back a task is found. Records that the store has read are counted.

use guilder_protocol::{
    envelope::Signed,
    market::{Ask, AskBody},
    settlement::Mode,
};

use super::*;
use crate::trade::{
    keys::{KEYS, KeyRecord},
    limits::ORIGINS_READ,
    records::{LOG, LogRow, StoredSide, TASKS, TaskRecord, key, log_key},
};

/// A node that has asked for so many tasks, of which nothing came; and their IDs, the newest first.
async fn asked_for(count: u64) -> (Node, Vec<Cid>) {
    let bank = Bank::open().await;
    let node = Plan::new(&bank, 1).start().await;
    let (signer, since) = (AgentKey::from_seed(&[1; 32]), yesterday().as_secs() - count);
    let ask = |number: u64| {
        let iat = Timestamp::from_secs(since + number);
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        let body = AskBody {
            service: echo(),
            max_price: 100,
            unit: play(),
            mints: vec![mint_url()],
            modes: vec![Mode::Prepaid],
            input_size: 5,
            deadline: iat.saturating_add(60),
        };
        Signed::claim(body, iat, Some(iat.saturating_add(60)), nonce.into(), &signer).unwrap()
    };
    let asks: Vec<Signed<Ask>> = (0..count).map(ask).collect();
    let tasks = asks.iter().rev().map(Signed::cid).collect();
    let writing = move |w: &mut crate::store::Write<'_>| {
        for ask in &asks {
            let task = ask.cid();
            w.put(TASKS, key(task), &TaskRecord::begun(ask, ask.iat, None, None))?;
            w.put(LOG, log_key(ask.iat, task), &LogRow::new(StoredSide::Buyer, task))?;
        }
        Ok(())
    };
    node.store.write(writing).await.unwrap();
    (node, tasks)
}

async fn listed(node: &Node, limit: usize) -> Vec<Cid> {
    let found = node.trade.tasks_that_fit(None, Page { after: None, limit }, TaskFilter::default()).await.unwrap();
    found.iter().map(|view| view.task).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_listing_costs_a_page_and_holds_what_was_asked_for() {
    let (node, tasks) = asked_for(1_200).await;
    let mut costs = Vec::new();
    for limit in [20, 200, 201, 1_000] {
        let before = node.store.rows_read();
        assert_eq!(listed(&node, limit).await, tasks[..limit], "{limit}");
        costs.push(node.store.rows_read() - before);
    }
    // Its row of the log, and its record; what the node does beside it is little.
    assert!(costs[0] <= 4 * 20, "{costs:?}");
    assert!(costs[3] <= 3 * 1_000, "{costs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_found_by_its_last_letters_however_many_came_after_it() {
    let (node, tasks) = asked_for(1_200).await;
    let oldest = tasks.last().unwrap();
    let tail = |letters: usize| {
        let text = oldest.to_string();
        text[text.len() - letters..].to_owned()
    };
    let before = node.store.rows_read();
    assert_eq!(node.trade.tasks_ending_in(tail(12)).await.unwrap(), [*oldest].into());
    assert!(node.store.rows_read() - before <= 1_300, "no task is read for it");
    assert_eq!(node.trade.tasks_ending_in(tail(0)).await.unwrap().len(), 2, "no further than to the second");
    assert!(node.trade.tasks_ending_in("1".to_owned()).await.unwrap().is_empty(), "no ID has a one");
}

/// As many as were hired: they are looked at in pages, and what is old and has no task on record goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origins_whose_task_is_gone_are_forgotten_page_by_page() {
    let (node, tasks) = asked_for(1).await;
    let (known, gone) = (tasks[0], Cid::default());
    let count = ORIGINS_READ as u64 + 100;
    let writing = move |w: &mut crate::store::Write<'_>| {
        for number in 0..count {
            let origin = Origin::new("owner", number.to_string());
            let task = if number % 2 == 0 { known } else { gone };
            w.put(KEYS, origin.row(), &KeyRecord::placed(task))?;
        }
        Ok(())
    };
    node.store.write(writing).await.unwrap();
    let kept = |node: &Node| node.store.read(|r| r.range(KEYS, KeyRange::all(), usize::MAX)).unwrap().len() as u64;
    node.housekeeper().tidy().await.unwrap();
    assert_eq!(kept(&node), count / 2, "those whose task is on record stay");
}

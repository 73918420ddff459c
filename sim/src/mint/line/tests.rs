#![allow(clippy::unwrap_used)]
use std::time::Duration;

use guilder::wallet::connector::frames::Method;

use super::*;
use crate::{fabric::Topology, mint::Condition};

const MILLIS: Duration = Duration::from_millis(1);
const FIXED: Topology =
    Topology { nearest_us: 10_000, span_us: 0, jitter_us: 0, loss: 0.0, uplink_bps: 0, regions_us: Vec::new() };

/// A mint 10 ms away that answers at once.
async fn with_a_mint<F: Future>(work: impl FnOnce(Fabric, ModelMint, Line) -> F) -> F::Output {
    let fabric = Fabric::new(1, FIXED);
    tokio::spawn(fabric.driver());
    let trace = Trace::new(None).unwrap();
    let (wallet, host) = (fabric.add_host(), fabric.add_host());
    let url: MintUrl = "https://mint0.sim".parse().unwrap();
    let mint = ModelMint::new(1, url.clone(), host, 0, Default::default());
    tokio::spawn(open(mint.clone(), fabric.transport(host), trace.clone()));
    let line = Lines::new(wallet, &fabric, &Arc::default(), &BTreeMap::from([(url.clone(), mint.clone())]), &trace)
        .to(&url)
        .unwrap();
    tokio::task::yield_now().await;
    work(fabric, mint, line).await
}

fn simulate<F: Future>(work: impl FnOnce(Fabric, ModelMint, Line) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(with_a_mint(work))
}

fn keys() -> Request {
    Request { method: Method::Get, path: "/v1/keysets".into(), body: Vec::new() }
}

/// How a call ends, and after how long.
async fn timed(line: &Line) -> (Result<u16, ExchangeError>, Duration) {
    let start = Instant::now();
    (line.exchange(keys()).await.map(|reply| reply.status), start.elapsed())
}

fn cut(fabric: &Fabric) {
    fabric.partition(|host| host.0);
}

fn heal(fabric: &Fabric) {
    fabric.partition(|_| 0);
}

#[test]
fn the_first_call_shakes_hands_and_the_next_does_not() {
    simulate(|_, mint, line| async move {
        let (first, took) = timed(&line).await;
        assert!(first == Ok(200) && (60 * MILLIS..65 * MILLIS).contains(&took), "{first:?} after {took:?}");
        let (second, took) = timed(&line).await;
        assert!(second == Ok(200) && (20 * MILLIS..25 * MILLIS).contains(&took), "{second:?} after {took:?}");
        tokio::time::sleep(STREAM_IDLE).await;
        let (third, took) = timed(&line).await;
        assert!(third == Ok(200) && took >= 60 * MILLIS, "{third:?} after {took:?}");
        assert_eq!(mint.calls(), 3);
    });
}

#[test]
fn a_partition_cuts_the_way_to_a_mint() {
    simulate(|fabric, mint, line| async move {
        cut(&fabric);
        let (reply, took) = timed(&line).await;
        assert!(matches!(reply, Err(ExchangeError::Unreachable(_))), "{reply:?}");
        assert_eq!((took, mint.calls()), (OPEN_TIMEOUT, 0));
        let healing = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            heal(&fabric);
        };
        let ((reply, took), ()) = tokio::join!(timed(&line), healing);
        assert!(reply == Ok(200) && took < Duration::from_secs(4), "{reply:?} after {took:?}");
    });
}

#[test]
fn a_request_may_arrive_after_its_sender_gave_up() {
    simulate(|fabric, mint, line| async move {
        timed(&line).await.0.unwrap();
        cut(&fabric);
        assert!(timeout(Duration::from_secs(5), line.exchange(keys())).await.is_err());
        assert_eq!(mint.calls(), 1);
        heal(&fabric);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(mint.calls(), 2);
    });
}

#[test]
fn a_reply_that_can_not_come_back_is_lost() {
    simulate(|fabric, mint, line| async move {
        timed(&line).await.0.unwrap();
        fabric.partition_one_way(|host| 1 - host.0);
        let (reply, _) = timed(&line).await;
        // The kept connection broke with the reply; no other can be made.
        assert!(matches!(reply, Err(ExchangeError::Unreachable(_))), "{reply:?}");
        assert_eq!(mint.calls(), 2);
        heal(&fabric);
        mint.set_condition(Condition { lost_replies: 1.0, ..Condition::default() });
        assert!(matches!(timed(&line).await.0, Err(ExchangeError::Lost(_))));
        assert_eq!(mint.calls(), 3);
        mint.set_condition(Condition { down: true, ..Condition::default() });
        assert_eq!(timed(&line).await.0, Ok(503));
    });
}

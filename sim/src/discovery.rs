//! The built-in discovery run: nodes offer services and look for each other's.

use std::{path::Path, time::Duration};

use guilder_protocol::market::ServiceName;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    fabric::{HostId, Topology},
    interpose::{self, Rng},
    trace::Trace,
    world::{World, WorldError},
};

/// What can be set about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything random follows from it.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u32,
    /// How long, in virtual seconds.
    pub secs: u64,
    /// Whether half the network is cut off for a while, and some nodes crash and return.
    pub faults: bool,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Everything random followed from it.
    pub seed: u64,
    /// How many nodes there were.
    pub nodes: u32,
    /// Virtual seconds.
    pub virtual_secs: f64,
    /// Virtual seconds per real second.
    pub speed: f64,
    /// Services looked for.
    pub searches: usize,
    /// Of those, found.
    pub found: usize,
    /// How long a search took until its first provider, in virtual milliseconds; sorted.
    pub search_ms: Vec<u64>,
    /// Bytes that crossed the network.
    pub bytes: u64,
    /// Events in the trace.
    pub events: u64,
    /// Hash of the trace: equal for equal runs.
    pub hash: String,
}

/// Runs the scenario on a fresh thread of its own, whose clock and entropy are virtual.
///
/// # Errors
/// If a node doesn't start or the trace can't be written.
pub fn run(options: Options, trace: Option<&Path>) -> Result<Outcome, WorldError> {
    let trace = trace.map(Path::to_owned);
    // A panic anywhere, in a node's task too, is a finding: it ends the run with its seed in view.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    let thread = std::thread::Builder::new().name("simulation".into()).stack_size(16 << 20).spawn(move || {
        interpose::enter(options.seed);
        simulate(&options, trace.as_deref())
    });
    let thread = thread.map_err(WorldError::new)?;
    thread.join().map_err(|_| WorldError::new("the simulation panicked"))?
}

thread_local! {
    /// When the simulation's paused clock started, for the hook that copies tokio's time to the C library's.
    static START: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

fn simulate(options: &Options, trace: Option<&Path>) -> Result<Outcome, WorldError> {
    let follow = || {
        if let Some(start) = START.get() {
            interpose::set_elapsed_ns(start.elapsed().as_nanos() as u64);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_unpark(follow)
        .build()
        .map_err(WorldError::new)?;
    let real = interpose::real_secs();
    let outcome = runtime.block_on(async {
        START.set(Some(Instant::now()));
        discovery(options, trace).await
    });
    // Dropping thousands of tasks in arbitrary order says nothing any more; the process is about to end.
    std::mem::forget(runtime);
    outcome.map(|outcome| Outcome { speed: outcome.virtual_secs / (interpose::real_secs() - real), ..outcome })
}

/// Nodes offer services and look for each other's.
async fn discovery(options: &Options, trace: Option<&Path>) -> Result<Outcome, WorldError> {
    let start = Instant::now();
    let trace = Trace::new(trace).map_err(WorldError::new)?;
    let mut world = World::new(options.seed, Topology::default(), trace.clone())?;
    let mut rng = Rng::new(options.seed ^ 0x5ce_4a10);
    let hosts: Vec<HostId> = (0..options.nodes).map(|_| world.add_host(0, Default::default())).collect();
    let bootstrap = [hosts[0]];
    for host in &hosts {
        world.start(*host, &bootstrap).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.converge().await;
    tokio::time::sleep(Duration::from_secs(10)).await;

    let services = (0..4).map(|n| format!("sim.service-{n}").parse::<ServiceName>());
    let services = services.collect::<Result<Vec<_>, _>>().map_err(WorldError::new)?;
    for (index, service) in services.iter().enumerate() {
        let seller = hosts[(index * 7 + 1) % hosts.len()];
        if let Some(node) = world.node(seller) {
            node.network.provide(service).await.map_err(WorldError::new)?;
        }
    }
    tokio::time::sleep(Duration::from_secs(10)).await;

    let (mut searches, mut search_ms) = (0, Vec::new());
    let mut round = 0;
    while start.elapsed() < Duration::from_secs(options.secs) {
        if options.faults {
            fault(&mut world, &hosts, round, &mut rng).await?;
        }
        let seeker = hosts[rng.below(hosts.len() as u64) as usize];
        let service = &services[rng.below(services.len() as u64) as usize];
        if let Some(node) = world.node(seeker) {
            searches += 1;
            search_ms.extend(search(&node.network, service).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        round += 1;
    }
    search_ms.sort_unstable();
    let (events, hash) = trace.finish().map_err(WorldError::new)?;
    Ok(Outcome {
        seed: options.seed,
        nodes: options.nodes,
        virtual_secs: start.elapsed().as_secs_f64(),
        speed: 0.0,
        searches,
        found: search_ms.len(),
        search_ms,
        bytes: world.fabric().traffic().bytes,
        events,
        hash,
    })
}

/// How long it took to find the first provider; `None` if none was found.
async fn search(network: &guilder::network::Network, service: &ServiceName) -> Option<u64> {
    let begun = Instant::now();
    let mut found = network.find(service, 3).await;
    found.recv().await.map(|_| begun.elapsed().as_millis() as u64)
}

/// In rounds 5 to 15 the network is split in two; in every fourth round a node crashes and comes back.
async fn fault(world: &mut World, hosts: &[HostId], round: u64, rng: &mut Rng) -> Result<(), WorldError> {
    match round {
        5 => world.fabric().partition(|host| host.0 % 2),
        15 => world.fabric().partition(|_| 0),
        _ => {}
    }
    if round % 4 == 3 {
        let victim = hosts[1 + rng.below(hosts.len() as u64 - 1) as usize];
        world.kill(victim, rng.below(2) == 0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.restart(victim, &hosts[..1]).await?;
    }
    Ok(())
}

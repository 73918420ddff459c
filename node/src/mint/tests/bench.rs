//! What a swap costs the mint. `cargo test -p guilder --lib mint::tests::bench -- --ignored --nocapture`

use std::time::Instant;

use cdk::nuts::{Conditions, SpendingConditions};

use super::*;

/// This process's CPU time so far, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// P2PK proofs swapped for as many fresh ones, in batches of each size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; takes a while"]
#[allow(clippy::print_stdout)]
async fn swaps() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let mint =
        HostedMint::open(folder.path(), &config(0), &SEED, &Runtime::production(Limits::default())).await.unwrap();
    let purse = Purse::new(&direct(&mint), PLAY).await;
    println!("batch  ms/swap  ms/proof  cpu ms/proof  proofs/s");
    for batch in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] {
        let rounds = (1024 / batch).clamp(3, 100);
        let mut requests = Vec::new();
        for _ in 0..rounds {
            requests.push((locked(&purse, batch).await, purse.outputs(&vec![1; batch])));
        }
        let requests: Vec<_> = requests.iter().map(|(proofs, outputs)| swap(proofs, outputs)).collect();
        let (wall, busy) = (Instant::now(), cpu());
        for request in requests {
            purse.mint.post_swap(request).await.unwrap();
        }
        let (wall, busy) = (wall.elapsed().as_secs_f64(), (cpu() - busy).as_secs_f64());
        let proofs = (rounds * batch) as f64;
        println!(
            "{batch:5}  {:7.2}  {:8.3}  {:12.3}  {:8.0}",
            wall * 1e3 / rounds as f64,
            wall * 1e3 / proofs,
            busy * 1e3 / proofs,
            proofs / wall
        );
    }
}

async fn locked(purse: &Purse, count: usize) -> Proofs {
    let key = SecretKey::generate();
    let tags = Conditions { locktime: Some(NOW.as_secs() + 900_000), ..Conditions::default() };
    let lock = SpendingConditions::new_p2pk(key.public_key(), Some(tags));
    let mut outputs = PreMintSecrets::new(purse.id);
    for _ in 0..count {
        let fees = (0, vec![1_u64]).into();
        let target = cdk::amount::SplitTarget::Value(1.into());
        outputs.combine(PreMintSecrets::with_conditions(purse.id, 1.into(), &target, &lock, &fees).unwrap());
    }
    let (quote, _) = purse.invoice(count as u64).await;
    let request = MintRequest { quote, outputs: outputs.blinded_messages(), signature: None };
    let signatures = purse.mint.post_mint(&bolt11(), request).await.unwrap().signatures;
    let mut proofs = construct_proofs(signatures, outputs.rs(), outputs.secrets(), &purse.keys).unwrap();
    proofs.iter_mut().for_each(|proof| proof.sign_p2pk(key.clone()).unwrap());
    proofs
}

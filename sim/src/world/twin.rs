//! A second home of a node's phrase: its wallet, opened once more on a copy of the disk, by somebody who does a little with it.

use std::{sync::Arc, time::Duration};

use guilder::{
    events::Events,
    failpoint::Failpoint,
    runtime::Runtime,
    store::{Store, testing::CrashBackend},
    wallet::{Holding, Wallet, WalletConfig, WalletParts, connector::Connectors},
};
use guilder_protocol::market::{MintUrl, Unit};
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::{WorldError, machine::Machine};

/// See the module.
pub(crate) struct Twin {
    pub(crate) wallet: Wallet,
    runtime: Runtime,
}

impl Twin {
    /// Opens one on a disk of its own.
    pub(super) async fn open(
        disk: CrashBackend,
        machine: Machine,
        clock_off_s: i64,
        (wallet_seed, lock_seed): ([u8; 64], [u8; 32]),
        config: WalletConfig,
        connectors: Arc<dyn Connectors>,
    ) -> Result<Self, WorldError> {
        let runtime = Runtime::with(machine).off_by(clock_off_s);
        let store = Store::with_backend(disk.backend(), &runtime).await.map_err(WorldError::new)?;
        let parts = WalletParts {
            config,
            seed: Zeroizing::new(wallet_seed),
            lock_seed: Zeroizing::new(lock_seed),
            store,
            connectors,
            runtime: runtime.clone(),
            events: Events::new(),
            failpoint: Failpoint::default(),
        };
        let (wallet, mut outcomes) = Wallet::open(parts).map_err(WorldError::new)?;
        // Its trades are the other home's business.
        let heard = async move { while outcomes.recv().await.is_some() {} };
        runtime.spawn("twin/outcomes", heard).detach();
        Ok(Self { wallet, runtime })
    }

    /// Spends a little again and again, and takes every other token back.
    pub(crate) fn spend(&self, mint: MintUrl, unit: Unit) {
        let wallet = self.wallet.clone();
        let spending = async move {
            for turn in 0_u64.. {
                sleep(SPEND_EVERY).await;
                // It may have nothing left, or what it thinks that it has was spent by the other home.
                let Ok(sent) = wallet.send(&mint, &unit, 1 + turn % 8).await else { continue };
                sleep(SPEND_EVERY).await;
                if turn % 2 == 0 {
                    let _ = wallet.reclaim(&sent.id).await;
                }
            }
        };
        self.runtime.spawn("twin/spending", spending).detach();
    }

    /// Ends it, and says what it had.
    pub(super) async fn end(self) -> Vec<Holding> {
        let left = self.wallet.holdings().unwrap_or_default();
        self.runtime.shutdown().await;
        left
    }
}

const SPEND_EVERY: Duration = Duration::from_secs(4);

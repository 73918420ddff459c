//! Mints whose replies get lost, come twice or come late: a wrapper around the ways to them.

use std::sync::Arc;

use async_trait::async_trait;
use guilder_protocol::{
    market::MintUrl,
    mint::{Reply, Request},
};
use tokio::time::sleep;

use super::{DELAY, Failpoint, Step, Way};
use crate::wallet::connector::{ConnectorError, Connectors, Exchange, ExchangeError};

/// The ways to mints, with a failpoint on each.
#[derive(Debug)]
pub(super) struct Unreliable {
    pub(super) inner: Arc<dyn Connectors>,
    pub(super) failpoint: Failpoint,
}

impl Connectors for Unreliable {
    fn for_url(&self, url: &MintUrl) -> Result<Arc<dyn Exchange>, ConnectorError> {
        let inner = self.inner.for_url(url)?;
        Ok(Arc::new(Line { inner, failpoint: self.failpoint.clone() }))
    }
}

#[derive(Debug)]
struct Line {
    inner: Arc<dyn Exchange>,
    failpoint: Failpoint,
}

#[async_trait]
impl Exchange for Line {
    async fn exchange(&self, request: Request) -> Result<Reply, ExchangeError> {
        let step = Step::reply(&request);
        let way = self.failpoint.way(step);
        if way == Way::Lost {
            return Err(ExchangeError::Unreachable("a failpoint lost the request".into()));
        }
        if way == Way::Twice {
            // The one who hears the first reply is gone.
            let _ = self.inner.exchange(request.clone()).await;
        }
        let reply = self.inner.exchange(request).await;
        self.failpoint.reach(step);
        match way {
            Way::Never => Err(ExchangeError::Lost("a failpoint dropped the reply".into())),
            Way::Late => {
                sleep(DELAY).await;
                reply
            }
            Way::Once | Way::Twice | Way::Lost => reply,
        }
    }
}

//! What can be done with authority: grant it, look, take it in, take it back.

use cid::Cid;
use guilder_protocol::{
    identity::AgentId,
    market::{MintUrl, Unit},
    ucan::grant::GrantChain,
};

use super::{
    Api,
    caller::{Caller, Right},
    types::{ApiError, GrantRequest, GrantView, RevokedView},
};
use crate::grants::{GrantTerms, GrantView as Granted};

/// Fewest letters of a grant's ID that stand for it.
const MIN_ID_TAIL: usize = 4;

impl Api {
    /// Lets another agent buy in our name, or in that of the grant which it is under.
    ///
    /// # Errors
    /// If the caller may not, the terms make no grant, or the disk fails.
    pub async fn grant(&self, caller: &Caller, request: GrantRequest) -> Result<GrantView, ApiError> {
        caller.may(Right::Manage)?;
        let grantee = request.grantee.parse().or_else(|_| AgentId::from_peer_id(&request.grantee));
        let grantee = grantee.map_err(|_| {
            ApiError::misuse(
                format!("{} is no agent", request.grantee),
                "give a peer ID (12D3Koo…) or a DID (did:key:z6Mk…); the other side's `guilder id` shows both",
            )
        })?;
        let under = request.under.as_deref().map(|id| self.resolve_grant(id)).transpose()?;
        let above = match under {
            Some(id) => Some(self.node().grants.adopt(id).await?),
            None => None,
        };
        let (unit, mint) = self.money_of(&request, above.as_ref())?;
        let least = above.as_ref().map_or(1, |above| above.links().len() as u64 + 1);
        let terms = GrantTerms {
            grantee,
            services: request.services,
            unit,
            mint,
            max_price: request.max_price,
            budget: request.budget,
            max_depth: request.depth.unwrap_or(least),
            expires: self.node().runtime.now().saturating_add(request.expires_secs),
            under,
        };
        let (trade, budget) = (&self.node().trade, terms.budget);
        // What is passed on is spent, as far as the grants above are concerned: before it is signed.
        let debited = match above {
            Some(above) => Some(trade.debit_grant(above, budget).await?),
            None => None,
        };
        match (self.node().grants.grant(terms).await, debited) {
            (Ok(granted), _) => self.view(granted),
            (Err(error), Some(debited)) => {
                trade.give_back(debited).await?;
                Err(error.into())
            }
            (Err(error), None) => Err(error.into()),
        }
    }

    /// The unit and the mint of a grant: as it says, else those of the grant above, else what this wallet leaves no choice of.
    fn money_of(&self, request: &GrantRequest, above: Option<&GrantChain>) -> Result<(Unit, MintUrl), ApiError> {
        let above = above.map(GrantChain::terms).unwrap_or_default();
        let unit = request.unit.clone().or_else(|| above.unit?.parse().ok());
        let unit = unit.unwrap_or_else(|| self.node().config.wallet.unit.clone());
        if let Some(mint) = request.mint.clone().or_else(|| above.mint?.parse().ok()) {
            return Ok((unit, mint));
        }
        let mut mints = self.node().wallet.mints().into_iter();
        match (mints.next(), mints.next()) {
            (Some(only), None) => Ok((unit, only.url)),
            _ => Err(ApiError::misuse(
                "a grant is for the money of one mint, and this wallet knows none or several",
                "say which: --mint URL; `guilder wallet mints` shows them",
            )),
        }
    }

    /// All grants, given and held, the newest first.
    ///
    /// # Errors
    /// If the caller may not, or the store can't be read.
    pub fn grants(&self, caller: &Caller) -> Result<Vec<GrantView>, ApiError> {
        caller.may(Right::Look)?;
        self.node().grants.list()?.into_iter().map(|granted| self.view(granted)).collect()
    }

    /// Takes in a grant that was made to us.
    ///
    /// # Errors
    /// If the caller may not, it is none, isn't to us, or doesn't hold.
    pub async fn import_grant(&self, caller: &Caller, text: &str) -> Result<GrantView, ApiError> {
        caller.may(Right::Manage)?;
        self.view(self.node().grants.import(read(text)?).await?)
    }

    /// Takes a delegation back, by its ID or by a grant's text.
    ///
    /// # Errors
    /// If the caller may not, we made none of it, or the disk fails.
    pub async fn revoke(&self, caller: &Caller, what: &str) -> Result<RevokedView, ApiError> {
        caller.may(Right::Manage)?;
        let grants = &self.node().grants;
        let revocation = match what.contains(':') {
            true => grants.revoke(read(what)?).await?,
            false => grants.revoke_given(self.resolve_grant(what)?).await?,
        };
        Ok(RevokedView {
            delegation: revocation.delegation().to_string(),
            at: revocation.made(),
            until: revocation.until(),
            peers: self.node().network.connected() as u64,
        })
    }

    /// A grant by its whole ID, or by its last letters.
    pub(super) fn resolve_grant(&self, id: &str) -> Result<Cid, ApiError> {
        if let Ok(cid) = id.parse() {
            return Ok(cid);
        }
        if id.len() < MIN_ID_TAIL {
            let message = format!("{id} is too short for a grant's ID");
            return Err(ApiError::misuse(message, "give its last 4 letters or more"));
        }
        let ids = self.node().grants.list()?.into_iter().map(|view| view.chain.cid());
        let mut ids: Vec<Cid> = ids.filter(|cid| cid.to_string().ends_with(id)).collect();
        ids.sort_unstable();
        ids.dedup();
        match ids.as_slice() {
            [found] => Ok(*found),
            [] => Err(ApiError::missing(format!("there is no grant {id}"), "`guilder grants` shows them")),
            _ => Err(ApiError::misuse(format!("several grants end in {id}"), "give more letters")),
        }
    }

    fn view(&self, granted: Granted) -> Result<GrantView, ApiError> {
        let spent = match granted.is_ours {
            true => None,
            false => Some(self.node().trade.spent_under(&granted.chain)?),
        };
        Ok(view(granted, spent))
    }
}

fn view(granted: Granted, spent: Option<u64>) -> GrantView {
    let Granted { chain, is_ours, at, is_handed_over, revoked, is_over } = granted;
    let terms = chain.terms();
    let state = match (&revoked, is_over) {
        (Some(_), _) => "revoked",
        (None, true) => "ended",
        (None, false) => "valid",
    };
    GrantView {
        id: chain.cid().to_string(),
        side: if is_ours { "given" } else { "held" }.to_owned(),
        state: state.to_owned(),
        principal: chain.principal().peer_id(),
        grantor: chain.grantor().peer_id(),
        grantee: chain.grantee().peer_id(),
        services: terms.services.unwrap_or_default(),
        max_price: terms.max_price,
        budget: terms.budget,
        spent,
        unit: terms.unit,
        mint: terms.mint,
        depth: terms.max_depth,
        delegations: chain.links().len() as u64,
        expires: chain.expires(),
        at,
        handed_over: is_handed_over,
        revoked_by: revoked.map(|(_, revoker)| revoker.peer_id()),
        text: chain.to_text(),
    }
}

fn read(text: &str) -> Result<GrantChain, ApiError> {
    GrantChain::from_text(text).map_err(|error| ApiError::misuse(error.to_string(), "ask its grantor to send it again"))
}

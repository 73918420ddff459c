//! What can be done with authority: grant it, look, take it in, take it back.

use cid::Cid;
use guilder_protocol::{
    identity::AgentId,
    market::{MintUrl, Unit},
    ucan::grant::GrantChain,
};

use super::{
    Api,
    caller::{Action, Caller},
    types::{ApiError, GrantRequest, GrantView, RevokedView},
};
use crate::grants::{GrantTerms, GrantView as Granted};

/// Fewest letters of a grant's ID that stand for it.
const MIN_ID_TAIL: usize = 4;

/// Among which grants one is looked for by its last letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Those that we made: to take one back.
    Given,
    /// Those that we hold: to award under one.
    Held,
}

impl Api {
    /// Lets another agent buy in our name, or in that of the grant which it is under.
    ///
    /// # Errors
    /// If the caller may not, the terms make no grant, or the disk fails.
    pub async fn grant(&self, caller: &Caller, request: GrantRequest) -> Result<GrantView, ApiError> {
        self.may_ask(caller, Action::Grant)?;
        let grantee = request.grantee.parse().or_else(|_| AgentId::from_peer_id(&request.grantee));
        let grantee = grantee.map_err(|_| {
            ApiError::misuse(
                format!("{} is no agent", request.grantee),
                "give a peer ID (12D3Koo…) or a DID (did:key:z6Mk…); the other side's `guilder id` shows both",
            )
        })?;
        let under = request.under.as_deref().map(|id| self.resolve_grant(id, Side::Held)).transpose()?;
        let above = match under {
            Some(id) => Some(self.node().grants.adopt(id).await?),
            None => None,
        };
        let (unit, mint) = self.money_of(&request, above.as_ref())?;
        let request = GrantRequest {
            grantee: grantee.peer_id(),
            unit: Some(unit.clone()),
            mint: Some(mint.clone()),
            under: under.map(|id| id.to_string()),
            ..request
        };
        self.pass(caller, Action::Grant, &request).await?;
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
        caller.may(Action::Look)?;
        self.all_grants()?.into_iter().map(|granted| self.view(granted)).collect()
    }

    /// Standing grants, and those that our open tasks carry.
    fn all_grants(&self) -> Result<Vec<Granted>, ApiError> {
        let node = self.node();
        let of_tasks =
            node.trade.granted_to_sellers()?.into_iter().map(|(chain, made)| node.grants.of_task(chain, made));
        let mut all: Vec<_> = node.grants.list()?.into_iter().chain(of_tasks).collect();
        all.sort_by_key(|granted| std::cmp::Reverse(granted.at));
        Ok(all)
    }

    /// Takes in a grant that was made to us.
    ///
    /// # Errors
    /// If the caller may not, it is none, isn't to us, or doesn't hold.
    pub async fn import_grant(&self, caller: &Caller, text: &str) -> Result<GrantView, ApiError> {
        self.pass(caller, Action::ImportGrant, &text).await?;
        self.view(self.node().grants.import(read(text)?).await?)
    }

    /// Takes a delegation back, by its ID or by a grant's text.
    ///
    /// # Errors
    /// If the caller may not, we made none of it, or the disk fails.
    pub async fn revoke(&self, caller: &Caller, what: &str) -> Result<RevokedView, ApiError> {
        self.may_ask(caller, Action::Revoke)?;
        let grants = &self.node().grants;
        let revocation = match what.contains(':') {
            true => {
                let chain = read(what)?;
                self.pass(caller, Action::Revoke, &what).await?;
                grants.revoke(chain).await?
            }
            false => {
                let id = self.resolve_grant(what, Side::Given)?;
                self.pass(caller, Action::Revoke, &id.to_string()).await?;
                let mut of_tasks = self.node().trade.granted_to_sellers()?.into_iter().map(|(chain, _)| chain);
                match of_tasks.find(|chain| chain.cid() == id) {
                    Some(chain) => grants.revoke(chain).await?,
                    None => grants.revoke_given(id).await?,
                }
            }
        };
        Ok(RevokedView {
            delegation: revocation.delegation().to_string(),
            at: revocation.made(),
            until: revocation.until(),
            peers: self.node().network.connected() as u64,
        })
    }

    /// A grant by its whole ID, or by its last letters.
    pub(super) fn resolve_grant(&self, id: &str, side: Side) -> Result<Cid, ApiError> {
        if let Ok(cid) = id.parse() {
            return Ok(cid);
        }
        if id.len() < MIN_ID_TAIL {
            let message = format!("{id} is too short for a grant's ID");
            return Err(ApiError::misuse(message, "give its last 4 letters or more"));
        }
        let listed = self.all_grants()?;
        let listed = listed.iter().map(|view| (view.chain.cid(), view.is_ours, view.is_handed_over));
        match named(id, side, listed).as_slice() {
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

/// Those of one side that end in these letters, of (ID, whether it is ours, whether it was only handed over). Anybody can hand
/// over a grant that ends in them; so where one was imported or used, those that only came don't count.
fn named(id: &str, side: Side, listed: impl Iterator<Item = (Cid, bool, bool)>) -> Vec<Cid> {
    let is_named =
        |(cid, is_ours, _): &(Cid, bool, bool)| *is_ours == (side == Side::Given) && cid.to_string().ends_with(id);
    let mut found: Vec<_> = listed.filter(is_named).collect();
    if side == Side::Held && found.iter().any(|(.., is_handed_over)| !is_handed_over) {
        found.retain(|(.., is_handed_over)| !is_handed_over);
    }
    found.into_iter().map(|(cid, ..)| cid).collect()
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

#[cfg(test)]
mod tests {
    use guilder_protocol::cbor::cid_of;

    use super::*;

    #[test]
    fn what_a_stranger_handed_over_is_not_taken_for_a_grant_that_was_made_or_taken_in() {
        // All that end in the same letter, as whoever tries enough of them gets the same four.
        let cids = (0..200_u64).map(|number| cid_of(&number.to_be_bytes()));
        let cids: Vec<_> = cids.filter(|cid| cid.to_string().ends_with('q')).take(3).collect();
        let [given, taken_in, handed_over] = cids[..] else { panic!("{cids:?}") };
        let all = [(given, true, true), (taken_in, false, false), (handed_over, false, true)];
        assert_eq!(named("q", Side::Given, all.into_iter()), [given]);
        assert_eq!(named("q", Side::Held, all.into_iter()), [taken_in]);
        assert_eq!(named("q", Side::Held, [all[0], all[2]].into_iter()), [handed_over]);
        assert_eq!(named("q", Side::Given, [all[2]].into_iter()), []);
    }
}

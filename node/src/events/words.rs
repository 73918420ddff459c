//! Events in words, for people who watch.

use guilder_protocol::identity::AgentId;

use super::{Event, Money, Outcome, Side};

impl Event {
    /// What happened, as one sentence without a full stop. Peers go by the last letters of their IDs.
    pub fn say(&self) -> String {
        self.say_with(&last_letters)
    }

    /// The same with peers as `name` calls them: by their whole IDs, since whoever tries long enough has last letters like
    /// another's.
    pub fn say_with(&self, name: &dyn Fn(&AgentId) -> String) -> String {
        self.say_trade(name).or_else(|| self.say_money()).unwrap_or_else(|| self.say_rest(name))
    }

    fn say_trade(&self, name: &dyn Fn(&AgentId) -> String) -> Option<String> {
        Some(match self {
            Self::Searching { service, .. } => format!("looking for sellers of {service}"),
            Self::SellerFound { seller, .. } => format!("found {}", name(seller)),
            Self::Asked { side: Side::Buyer, peer, service, .. } => format!("asked {} for {service}", name(peer)),
            Self::Asked { side: Side::Seller, peer, service, .. } => format!("{} asks for {service}", name(peer)),
            Self::Offered { side: Side::Buyer, peer, price, .. } => {
                format!("{} offers it for {}", name(peer), sum(price))
            }
            Self::Offered { side: Side::Seller, peer, price, .. } => {
                format!("offered it to {} for {}", name(peer), sum(price))
            }
            Self::Weighed { peer, price, delivered, failed, chance_permille, weighed_milli, .. } => format!(
                "{} at {}: delivered {delivered}, failed {failed}, chance {}.{} %, comes to {}.{:03} {}",
                name(peer),
                sum(price),
                chance_permille / 10,
                chance_permille % 10,
                weighed_milli / 1_000,
                weighed_milli % 1_000,
                price.unit
            ),
            Self::OwnWork { service, .. } => format!("this node sells {service} itself and does it, for free"),
            Self::Declined { side: Side::Buyer, peer, reason, .. } => format!("{} declines: {reason}", name(peer)),
            Self::Declined { side: Side::Seller, peer, reason, .. } => format!("declined to {}: {reason}", name(peer)),
            Self::Awarded { side: Side::Buyer, peer, price, .. } => {
                format!("awarded to {} for {}, the money locked to it", name(peer), sum(price))
            }
            Self::Awarded { side: Side::Seller, peer, price, .. } => {
                format!("award from {} for {}", name(peer), sum(price))
            }
            Self::Accepted { side: Side::Buyer, peer, .. } => format!("{} accepts", name(peer)),
            Self::Accepted { side: Side::Seller, peer, .. } => {
                format!("accepted {}'s award, its money checked offline", name(peer))
            }
            Self::Refused { side: Side::Buyer, peer, reason, .. } => format!("{} refuses: {reason}", name(peer)),
            Self::Refused { side: Side::Seller, peer, reason, .. } => {
                format!("refused {}'s award: {reason}", name(peer))
            }
            Self::Progress { permille: Some(permille), note, .. } => format!("at work, {} %: {note}", permille / 10),
            Self::Progress { note, partial, .. } if note.is_empty() => format!("writes: {partial}"),
            Self::Progress { note, .. } => format!("at work: {note}"),
            Self::Cheated { peer, what, sum: Some(money), .. } => format!("{} {what}: {}", name(peer), sum(money)),
            Self::Cheated { peer, what, sum: None, .. } => format!("{} {what}", name(peer)),
            Self::OutputInvalid { peer, why, .. } => {
                format!(
                    "output invalid: what {} delivers, and is paid for, is not what its offer promised: {why}",
                    name(peer)
                )
            }
            Self::Delivered { side: Side::Buyer, peer, output_bytes, .. } => {
                format!("{} delivers {output_bytes} bytes and a signed receipt", name(peer))
            }
            Self::Delivered { side: Side::Seller, peer, output_bytes, .. } => {
                format!("delivered {output_bytes} bytes and a signed receipt to {}", name(peer))
            }
            Self::Ended { outcome: Outcome::Done, .. } => "done".to_owned(),
            Self::Ended { outcome: Outcome::Failed { fault, reason }, .. } => {
                format!("failed: {reason} (fault: {})", fault.as_str())
            }
            Self::Ended { outcome: Outcome::Cancelled, .. } => "cancelled".to_owned(),
            Self::Ended { outcome: Outcome::Unknown, .. } => "ended".to_owned(),
            _ => return None,
        })
    }

    fn say_money(&self) -> Option<String> {
        Some(match self {
            Self::Locked { sum: money, from_purse: true, .. } => format!("locked {} from the purse", sum(money)),
            Self::Locked { sum: money, from_purse: false, mint } => format!("locked {} at {mint}", sum(money)),
            Self::Swapped { purpose, sum: money, fee, mint } => {
                format!("swapped {} at {mint} ({}; fee {fee})", sum(money), purpose.as_str())
            }
            Self::Redeemed { trades, sum: money, fee, mint } => {
                format!("redeemed {} for {trades} task(s) at {mint} (fee {fee})", sum(money))
            }
            Self::Refunded { sum: money, fee, mint } => format!("got {} back at {mint} (fee {fee})", sum(money)),
            Self::Funded { sum: money, mint } => format!("received {} at {mint}", sum(money)),
            Self::MintTrouble { mint, reason } => format!("trouble with {mint}: {reason}"),
            Self::MoneyTrouble { mint, fault, reason } => {
                format!("money trouble at {mint}: {reason} (fault: {})", fault.as_str())
            }
            _ => return None,
        })
    }

    fn say_rest(&self, name: &dyn Fn(&AgentId) -> String) -> String {
        match self {
            Self::Listening { address } => format!("listening on {address}"),
            Self::BootstrapFailed { address, reason, .. } => {
                format!("the bootstrap peer {address} doesn't answer: {reason}")
            }
            Self::PeerConnected { peer, address, .. } => format!("connected to {} at {address}", name(peer)),
            Self::PeerDisconnected { peer, reason } => format!("disconnected from {}: {reason}", name(peer)),
            Self::PeerPenalized { peer, reason, banned } => {
                format!("{} misbehaved: {reason}{}", name(peer), if *banned { "; banned" } else { "" })
            }
            Self::AdvertSeen { seller, service, price } => {
                format!("{} sells {service} for {}", name(seller), sum(price))
            }
            Self::AdvertWithdrawn { seller, service } => format!("{} sells {service} no more", name(seller)),
            Self::ServiceAdded { service } => format!("{service} is on sale"),
            Self::ServiceRemoved { service } => format!("{service} is off sale"),
            Self::ToolChanged { service, why } => format!("{service} is taken off sale: {why}"),
            Self::Revoked { revoker, delegation } => format!("{} revoked the delegation {delegation}", name(revoker)),
            Self::ApprovalAsked { approval, caller, action } => {
                format!("{caller} asks for {action}: `guilder approvals show {approval}`")
            }
            Self::ApprovalAnswered { approval, granted: true } => format!("approval {approval} is granted"),
            Self::ApprovalAnswered { approval, granted: false } => format!("approval {approval} is refused"),
            Self::RunBegan { duty, run } => format!("the duty {duty} runs: {run}"),
            Self::RunEnded { duty, run, outcome, reason: None } => {
                format!("the run {run} of the duty {duty} is {outcome}")
            }
            Self::RunEnded { duty, run, outcome, reason: Some(why) } => {
                format!("the run {run} of the duty {duty} is {outcome}: {why}")
            }
            Self::DutySkipped { duty, moments: 1, why } => format!("the duty {duty} isn't run: {why}"),
            Self::DutySkipped { duty, moments, why } => format!("the duty {duty} isn't run {moments} times: {why}"),
            Self::Dreamed { memories, episodes, changes } => {
                format!("went through {memories} memories and {episodes} deeds of sellers, and made {changes} changes")
            }
            Self::DutyPaused { duty, why } => format!("the duty {duty} is paused: {why}"),
            Self::WebhookFailed { endpoint, attempts, why, .. } => {
                format!("{endpoint} didn't take a webhook in {attempts} attempts: {why}")
            }
            Self::WebhooksPaused { endpoint, why } => format!("{endpoint} is told nothing more: {why}"),
            Self::Ready { took_ms } => format!("ready after {took_ms} ms"),
            Self::Reloaded { applied, restart } => match (applied.as_str(), restart.as_str()) {
                ("", "") => "settings read again: nothing in them has changed".to_owned(),
                (applied, "") => format!("settings read again: changed {applied}"),
                ("", restart) => format!("settings read again: a restart is needed for {restart}"),
                (applied, restart) => {
                    format!("settings read again: changed {applied}; a restart is needed for {restart}")
                }
            },
            Self::ReloadFailed { reason } => {
                format!("the settings can't be read again, and stay as they are: {reason}")
            }
            Self::Stopping { reason } => format!("stopping: {reason}"),
            Self::Unknown => "something that only a later version knows".to_owned(),
            other => super::kinds::Line(other).to_string(),
        }
    }
}

/// A peer by the last letters of its ID: enough to tell a handful apart.
pub(crate) fn last_letters(peer: &AgentId) -> String {
    let id = peer.peer_id();
    format!("…{}", &id[id.len().saturating_sub(6)..])
}

fn sum(money: &Money) -> String {
    format!("{} {}", money.amount, money.unit)
}

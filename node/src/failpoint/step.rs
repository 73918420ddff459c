//! The steps that have a name, and what can be made to happen at one: the grammar of the environment variable.

use std::{fmt, str::FromStr};

use guilder_protocol::{
    mint::{Method, Request},
    wire::Message,
};

macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident $name:literal,)*) => {
        /// A step of a trade, of its money, of a grant or of a hosted mint. What happens at one happens *before* it: a `store-…`
        /// hasn't been stored, a `send-…` hasn't been sent, though all before it has been.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step {
            $($(#[$doc])* $step,)*
            /// Any other commit of the trade room. It has no name.
            Other,
        }

        impl Step {
            /// The steps that can be named.
            pub const NAMED: &[(Self, &'static str)] = &[$((Self::$step, $name),)*];
        }
    };
}

steps! {
    /// Buyer: a hire of an origin is placed: its task becomes durable under it, before anything is sent.
    StoreClaim "store-claim",
    /// Buyer: that a hire without an award is over becomes durable for whoever waits for it.
    StoreEnd "store-end",
    /// Buyer in another's name: what is spent under each delegation becomes durable, before any money is locked.
    StoreDebit "store-debit",
    /// Buyer: the award and the debit of its lock become durable.
    StoreAward "store-award",
    /// Buyer: a delivery whose output goes as content is noted.
    StoreFetching "store-fetching",
    /// Buyer: in escrow, the release becomes durable.
    StoreRelease "store-release",
    /// Buyer: the trade's end becomes durable, and whose the money is.
    StoreBought "store-bought",
    /// Buyer: what was refunded after the locktime is noted.
    StoreRefunded "store-refunded",
    /// Seller: the award becomes durable, with its offer and its proofs reserved.
    StoreAccepted "store-accepted",
    /// Seller: the receipt and the output become durable, and the money due.
    StoreSold "store-sold",
    /// Seller: in escrow, the release becomes durable, and the money due.
    StoreReleased "store-released",
    /// Seller: what the mint gave is noted.
    StoreRedeemed "store-redeemed",
    /// Either: a swap (a buyer's lock, a seller's redemption) becomes durable with its blinding factors.
    StoreSwap "store-swap",
    /// Either: a stored swap is posted to the mint.
    PostSwap "post-swap",
    /// Either: the mint has acted on a swap; what it made becomes durable.
    SettleSwap "settle-swap",
    /// Duties: the outcomes of due moments become durable, with the runs that they set off.
    StoreDue "store-due",
    /// Duties: a webhook becomes durable, with the runs that it sets off, before it is answered.
    StoreDelivery "store-delivery",
    /// Duties: a step of a run becomes durable, with what it may cost, before anything of it is done.
    StoreStep "store-step",
    /// Duties: what came of a step, or of some of its hires, becomes durable.
    StoreOutcome "store-outcome",
    /// Duties: that a run is over becomes durable.
    StoreRun "store-run",
    /// Webhooks out: one is about to be posted.
    PostWebhook "post-webhook",
    /// Webhooks out: what came of posting one becomes durable.
    StoreTold "store-told",
    /// Grantor: a grant becomes durable, before it is handed over.
    StoreGrant "store-grant",
    /// Grantor: a revocation becomes durable, before it travels.
    StoreRevocation "store-revocation",
    /// Any commit of the store, whatever it holds, once a trade or a grant has begun.
    Commit "commit",
    /// The same when it is durable, before anybody is told.
    Committed "committed",
    /// An advert goes out; so with each message of a trade. (Queries come before all of it.)
    SendAdvertised "send-advertised",
    /// That there is no advert.
    SendNotAdvertised "send-not-advertised",
    /// Buyer: the ask.
    SendAsked "send-asked",
    /// Seller: the offer.
    SendOffered "send-offered",
    /// Seller: that there is none.
    SendDeclined "send-declined",
    /// Buyer: the award.
    SendAwarded "send-awarded",
    /// Seller: the word that it works.
    SendAccepted "send-accepted",
    /// Seller: that it doesn't take the award.
    SendRefused "send-refused",
    /// Seller: how far the work is.
    SendProgress "send-progress",
    /// Seller: the delivery.
    SendDelivered "send-delivered",
    /// Either: a question how an award stands.
    SendStatus "send-status",
    /// Seller: that it knows no such award.
    SendUnknown "send-unknown",
    /// Buyer: that the award is called off.
    SendCancel "send-cancel",
    /// A schema.
    SendSchema "send-schema",
    /// Buyer: that it has the output.
    SendReceived "send-received",
    /// Buyer: in escrow, the release.
    SendRelease "send-release",
    /// Seller: in escrow, the key.
    SendOpened "send-opened",
    /// A mint's reply to a swap is about to be heard; so with each kind of request.
    ReplySwap "reply-swap",
    /// How proofs stand.
    ReplyState "reply-state",
    /// Signatures that were given before.
    ReplyRestore "reply-restore",
    /// The state of a quote, or a new one.
    ReplyQuote "reply-quote",
    /// Coins for a paid quote.
    ReplyMint "reply-mint",
    /// A payment.
    ReplyMelt "reply-melt",
    /// Keys, keysets, what a mint says of itself.
    ReplyKeys "reply-keys",
    /// Hosted mint: it is about to act on a swap.
    ActSwap "act-swap",
    /// Hosted mint: it is acting on a swap, since as many milliseconds as the number says.
    AmidSwap "amid-swap",
    /// Hosted mint: it has acted on a swap, and answers.
    AnswerSwap "answer-swap",
}

impl Step {
    /// Sending this message.
    pub(crate) fn send(message: &Message) -> Self {
        match message {
            Message::Query(_) => Self::Other,
            Message::Advertised(_) => Self::SendAdvertised,
            Message::NotAdvertised(_) => Self::SendNotAdvertised,
            Message::Asked(_) => Self::SendAsked,
            Message::Offered(_) => Self::SendOffered,
            Message::Declined(_) => Self::SendDeclined,
            Message::Awarded(_) => Self::SendAwarded,
            Message::Accepted(_) => Self::SendAccepted,
            Message::Refused(_) => Self::SendRefused,
            Message::Progress(_) => Self::SendProgress,
            Message::Delivered(_) => Self::SendDelivered,
            Message::Status(_) => Self::SendStatus,
            Message::Unknown(_) => Self::SendUnknown,
            Message::Cancel(_) => Self::SendCancel,
            Message::Schema(_) => Self::SendSchema,
            Message::Received(_) => Self::SendReceived,
            Message::Release(_) => Self::SendRelease,
            Message::Opened(_) => Self::SendOpened,
        }
    }

    /// Hearing what a mint replies to this request.
    pub(super) fn reply(Request { method, path, .. }: &Request) -> Self {
        match path.strip_prefix("/v1/").unwrap_or_default() {
            "swap" => Self::ReplySwap,
            "checkstate" => Self::ReplyState,
            "restore" => Self::ReplyRestore,
            path if path.contains("quote/") => Self::ReplyQuote,
            path if *method == Method::Post && path.starts_with("mint/") => Self::ReplyMint,
            path if *method == Method::Post && path.starts_with("melt/") => Self::ReplyMelt,
            _ => Self::ReplyKeys,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMED.iter().find(|(step, _)| *step == self).map_or("other", |(_, name)| name)
    }

    /// Whether it is the store's, which comes to it for whatever is written.
    pub(super) fn is_any_commit(self) -> bool {
        matches!(self, Self::Commit | Self::Committed)
    }

    /// Whether a trade or a grant has begun once it is come to: not what a node does for itself, or before it is hired.
    pub(super) fn begins(self) -> bool {
        let early = matches!(self, Self::SendAdvertised | Self::SendNotAdvertised | Self::SendSchema);
        let own = matches!(self, Self::StoreRefunded | Self::StoreSwap | Self::PostSwap | Self::SettleSwap);
        let mints = matches!(self, Self::ActSwap | Self::AmidSwap | Self::AnswerSwap) || self.is_replied();
        let told = matches!(self, Self::PostWebhook | Self::StoreTold);
        !(early || own || told || mints || self.is_any_commit() || self == Self::Other)
    }

    fn is_sent(self) -> bool {
        self.name().starts_with("send-")
    }

    fn is_replied(self) -> bool {
        self.name().starts_with("reply-")
    }
}

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The process kills itself (SIGKILL: nothing is flushed, closed or said).
    Kill,
    /// The store's file takes no more bytes for a while, as on a full disk.
    Full,
    /// The wall clock goes forward by [`TURN_SECS`](super::TURN_SECS) and stays so.
    Fast,
    /// The wall clock goes back by as much.
    Slow,
    /// A message never goes out; a mint's reply never comes, though the mint has acted.
    Drop,
    /// A message goes out twice; a mint is asked twice, and its second reply is heard.
    Repeat,
    /// A message goes out, or a mint's reply is heard, after [`DELAY`](super::DELAY).
    Delay,
    /// A mint isn't reached.
    Lose,
}

impl Verb {
    const NAMED: [(Self, &'static str); 8] = [
        (Self::Kill, "kill"),
        (Self::Full, "full"),
        (Self::Fast, "fast"),
        (Self::Slow, "slow"),
        (Self::Drop, "drop"),
        (Self::Repeat, "repeat"),
        (Self::Delay, "delay"),
        (Self::Lose, "lose"),
    ];

    /// Whether it befalls the process, and not what is said at the step.
    pub(super) fn is_of_process(self) -> bool {
        matches!(self, Self::Kill | Self::Full | Self::Fast | Self::Slow)
    }

    fn is_at(self, step: Step) -> bool {
        match self {
            Self::Kill => true,
            Self::Full | Self::Fast | Self::Slow => step != Step::AmidSwap,
            Self::Drop | Self::Repeat | Self::Delay => step.is_sent() || step.is_replied(),
            Self::Lose => step.is_replied(),
        }
    }
}

/// One thing that happens once: `kill:store-award`; at the third arrival: `kill:commit*3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub verb: Verb,
    /// Where.
    pub step: Step,
    /// At the how-manieth arrival, from 1 on; at [`Step::AmidSwap`], after how many milliseconds.
    pub number: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = Verb::NAMED.iter().find(|(verb, _)| *verb == self.verb).map_or("", |(_, name)| name);
        write!(f, "{verb}:{}", self.step.name())?;
        if self.number == 1 { Ok(()) } else { write!(f, "*{}", self.number) }
    }
}

/// It names nothing that can happen, or not at that step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} can't happen; a fault is VERB:STEP or VERB:STEP*NUMBER, with a verb of {verbs} (the last four at send-… and \
         reply-… alone), and a step of {steps}", verbs = Names(&Verb::NAMED), steps = Names(Step::NAMED))]
pub struct UnknownFault(String);

struct Names<T: 'static>(&'static [(T, &'static str)]);

impl<T> fmt::Display for Names<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|(_, name)| *name).collect();
        f.write_str(&names.join(", "))
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (verb, place) = text.split_once(':')?;
            let (step, number) = place.split_once('*').unwrap_or((place, "1"));
            let fault = Self {
                verb: Verb::NAMED.iter().find(|(_, name)| *name == verb)?.0,
                step: Step::NAMED.iter().find(|(_, name)| *name == step)?.0,
                number: number.parse().ok()?,
            };
            (fault.number > 0 && fault.verb.is_at(fault.step)).then_some(fault)
        };
        parse().ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_fault_is_read_as_it_is_written() {
        for (step, name) in Step::NAMED {
            let fault: Fault = format!("kill:{name}").parse().unwrap();
            assert_eq!(fault, Fault { verb: Verb::Kill, step: *step, number: 1 });
            assert_eq!(fault.to_string(), format!("kill:{name}"));
        }
        for text in ["full:commit*7", "fast:store-award", "drop:send-offered", "repeat:reply-swap*2", "lose:reply-keys"]
        {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_can_not_happen_is_answered_with_what_can() {
        for wrong in
            ["store-award", "kill:store-everything", "drop:store-award", "lose:send-asked", "kill:commit*0", "kill:"]
        {
            let error = wrong.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("store-award, store-fetching"), "{error}");
        }
    }
}

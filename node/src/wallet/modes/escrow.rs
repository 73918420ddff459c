//! Escrow: every key is for one trade alone. The seller's derive from the label that it draws for its offer, the buyer's from
//! what the offer names.

use guilder_protocol::{
    bytes::Nonce,
    seal::SealKey,
    settlement::{Conditions, escrow},
};

use super::{
    super::{
        keys::{KeyPath, LockKeys},
        records::AcceptedEscrow,
        spend::Spend,
    },
    Asking, Locking, Taking,
};

/// Our key for what is locked to us under the offer of this label.
fn payee(label: Nonce) -> KeyPath {
    KeyPath::new(format!("escrow/payee/{label}"))
}

/// What seals our output under the offer of this label, and is shown to be paid.
fn seal(label: Nonce) -> KeyPath {
    KeyPath::new(format!("escrow/seal/{label}"))
}

/// Our key for letting what we locked on these terms go.
pub(super) fn release(terms: &escrow::Terms) -> KeyPath {
    KeyPath::new(format!("escrow/release/{}/{}", terms.payee, terms.key_hash))
}

/// Our key for taking back, after the locktime, what we locked on these terms.
fn refund(terms: &escrow::Terms) -> KeyPath {
    KeyPath::new(format!("escrow/refund/{}/{}", terms.payee, terms.key_hash))
}

pub(super) fn terms(keys: &LockKeys, asking: Asking<'_>) -> escrow::Terms {
    let Asking { deadline, label, config, .. } = asking;
    let release_by = deadline.saturating_add(config.release_secs);
    let redeem_by = release_by.saturating_add(config.redeem_secs);
    escrow::Terms {
        label,
        payee: keys.public(&payee(label)),
        key_hash: key(keys, &seal(label)).hash(),
        release_by,
        redeem_by,
        locktime: redeem_by.saturating_add(config.escrow_margin_secs),
    }
}

/// The seal's key is 32 bytes, as every scalar.
fn key(keys: &LockKeys, path: &KeyPath) -> SealKey {
    SealKey::new(keys.secret(path).to_secret_bytes())
}

pub(super) fn seal_key(terms: &escrow::Terms, keys: &LockKeys) -> SealKey {
    key(keys, &seal(terms.label))
}

pub(super) fn locking(terms: &escrow::Terms, keys: &LockKeys) -> Locking {
    let back = refund(terms);
    let conditions = escrow::Conditions {
        locktime: terms.locktime,
        key_hash: terms.key_hash,
        payee: terms.payee,
        release: keys.public(&release(terms)),
        refund: keys.public(&back),
    };
    Locking { conditions: Conditions::Escrow(conditions), refund: Spend::withholding(back) }
}

pub(super) fn redemption(terms: &escrow::Terms) -> Taking {
    let (earned, released) = (false, false);
    let escrow = AcceptedEscrow { key: seal(terms.label), redeem_by: terms.redeem_by, earned, released };
    Taking { spend: Spend::signed_by(payee(terms.label)), escrow: Some(escrow) }
}

#[cfg(test)]
mod tests {
    use guilder_protocol::{identity::AgentId, time::Timestamp};
    use zeroize::Zeroizing;

    use super::*;
    use crate::wallet::config::RedemptionConfig;

    fn terms_of(label: u8) -> escrow::Terms {
        let (buyer, deadline, config) =
            (AgentId::from_bytes([1; 32]), Timestamp::from_secs(3_600), RedemptionConfig::default());
        terms(&keys(), Asking { buyer, deadline, label: [label; 16].into(), config: &config })
    }

    fn keys() -> LockKeys {
        LockKeys::new(Zeroizing::new([7; 32]))
    }

    #[test]
    fn every_key_of_two_trades_is_another() {
        let (one, other) = (terms_of(1), terms_of(2));
        let conditions = |terms: &escrow::Terms| match locking(terms, &keys()).conditions {
            Conditions::Escrow(conditions) => conditions,
            Conditions::Prepaid(_) => panic!("of escrow"),
        };
        let (first, second) = (conditions(&one), conditions(&other));
        let all = [first.payee, first.release, first.refund, second.payee, second.release, second.refund];
        let mut public: Vec<_> = all.iter().map(|key| key.0[1..].to_vec()).collect();
        public.sort();
        public.dedup();
        assert_eq!(public.len(), all.len());
        assert_ne!(one.key_hash, other.key_hash);
        assert_eq!(seal_key(&one, &keys()).hash(), one.key_hash);
    }

    const FROZEN: [&str; 4] = [
        "0304b1cc49769e25a56b49d5d5c7a13518734c14ecf00ce7632c34490ba9718eb0",
        "03cb9d6dc74527e45e8c2c58c5db3deed87c59df4f08d4bc083f1f7162a876263e",
        "02973c5964c783a758e4730996520dd78b470d54704d1dd49eb2384fdd628e3f68",
        "0dc5180b71710c8030b2f71f59b682bbc18b5ccaf98c86c4ca08c716dc0e1cd1",
    ];

    /// Frozen: whoever restores a home folder with a later version must find its money, and open what it sealed.
    #[test]
    fn the_keys_of_a_trade_stay_the_same() {
        let terms = terms_of(1);
        let Conditions::Escrow(conditions) = locking(&terms, &keys()).conditions else { panic!() };
        let (payee, release, refund) = (FROZEN[0], FROZEN[1], FROZEN[2]);
        let found = (conditions.payee.to_string(), conditions.release.to_string(), conditions.refund.to_string());
        assert_eq!(found, (payee.to_owned(), release.to_owned(), refund.to_owned()));
        assert_eq!(terms.key_hash.to_string(), FROZEN[3]);
        assert_eq!((redemption(&terms).spend, terms_of(1)), (Spend::signed_by(super::payee(terms.label)), terms));
    }

    #[test]
    fn the_deadlines_follow_each_other_with_the_settings_room() {
        let (terms, config) = (terms_of(1), RedemptionConfig::default());
        let at = |secs: u64| Timestamp::from_secs(3_600 + secs);
        assert_eq!(terms.release_by, at(config.release_secs));
        assert_eq!(terms.redeem_by, at(config.release_secs + config.redeem_secs));
        assert_eq!(terms.locktime, at(config.release_secs + config.redeem_secs + config.escrow_margin_secs));
    }
}

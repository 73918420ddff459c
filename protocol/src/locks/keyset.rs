//! A mint's keysets as the check sees them: the checker's own, never a message's.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use cashu::nuts::{CurrencyUnit, Id, KeySet, Keys, PublicKey, nut02::KeySetVersion};

use super::KeysetId;
use crate::{
    fault::{AtFault, Fault},
    market::Unit,
    time::Timestamp,
};

/// The keysets of one mint that its user has fetched and kept, by full ID.
pub type KeysetView = BTreeMap<KeysetId, Arc<Keyset>>;

/// A keyset whose ID has been computed again from its keys (NUT-02, "Deriving the keyset ID").
///
/// The old ID version doesn't cover unit, fee and expiry: for those the mint's word of the first fetch stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Keyset {
    id: KeysetId,
    unit: Unit,
    keys: Keys,
    input_fee_ppk: u64,
    final_expiry: Option<Timestamp>,
}

impl Keyset {
    /// Takes a keyset if its ID is that of its keys, unit, fee and expiry.
    ///
    /// # Errors
    /// If the ID is another's, or there is no key for a positive amount in it.
    pub fn verify(
        id: KeysetId,
        unit: Unit,
        keys: Keys,
        input_fee_ppk: u64,
        final_expiry: Option<Timestamp>,
    ) -> Result<Self, KeysetError> {
        if keys.keys().is_empty() || keys.keys().keys().any(|amount| amount.to_u64() == 0) {
            return Err(KeysetError::Amounts(id));
        }
        let currency = CurrencyUnit::from_str(unit.as_str()).map_err(|_| KeysetError::Id(id))?;
        let computed = match id.to_cashu().get_version() {
            KeySetVersion::Version00 => Id::v1_from_keys(&keys),
            KeySetVersion::Version01 => {
                Id::v2_from_data(&keys, &currency, input_fee_ppk, final_expiry.map(Timestamp::as_secs))
            }
        };
        if computed != id.to_cashu() {
            return Err(KeysetError::Id(id));
        }
        Ok(Self { id, unit, keys, input_fee_ppk, final_expiry })
    }

    /// [`Self::verify`] of what a mint answered.
    ///
    /// # Errors
    /// As there.
    pub fn from_mint(keyset: &KeySet) -> Result<Self, KeysetError> {
        let expiry = keyset.final_expiry.map(Timestamp::from_secs);
        let unit = keyset.unit.to_string().parse().map_err(|_| KeysetError::Unit(keyset.id.into()))?;
        Self::verify(keyset.id.into(), unit, keyset.keys.clone(), keyset.input_fee_ppk, expiry)
    }

    /// Its full ID.
    pub fn id(&self) -> KeysetId {
        self.id
    }

    /// Its unit.
    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// What the mint keeps for spending one proof of it, in thousandths of the unit.
    pub fn input_fee_ppk(&self) -> u64 {
        self.input_fee_ppk
    }

    /// When the mint's promise ends, if it does (NUT-02, "Keyset Final Expiry").
    pub fn final_expiry(&self) -> Option<Timestamp> {
        self.final_expiry
    }

    /// The mint's key for `amount`.
    pub fn key(&self, amount: u64) -> Option<PublicKey> {
        self.keys.amount_key(amount.into())
    }

    /// All keys by amount.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}

impl fmt::Debug for Keyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyset")
            .field("id", &self.id)
            .field("unit", &self.unit)
            .field("input_fee_ppk", &self.input_fee_ppk)
            .finish_non_exhaustive()
    }
}

/// A mint's keyset isn't what its ID says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysetError {
    /// The ID isn't that of the keys, unit, fee and expiry.
    #[error("keyset {0} has an ID that its keys don't give")]
    Id(KeysetId),
    /// A unit that we have no name for.
    #[error("keyset {0} is of a unit whose name is not in lower-case letters and digits")]
    Unit(KeysetId),
    /// No keys, or one for the amount 0.
    #[error("keyset {0} has no keys for real amounts")]
    Amounts(KeysetId),
}

impl AtFault for KeysetError {
    fn fault(&self) -> Fault {
        Fault::Mint
    }
}

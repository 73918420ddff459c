//! What a policy may cost to evaluate: a counter that hostile policies run dry.

/// Steps left. Every statement, selector step, compared value and quantified element burns some; texts by their length.
#[derive(Clone, Copy, Debug)]
pub struct Fuel(usize);

/// The policy would cost more than it may: it authorises nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfFuel;

/// Bytes compared for one unit of fuel.
const BYTES_PER_UNIT: usize = 64;

impl Fuel {
    /// A counter of `units` steps.
    pub const fn new(units: usize) -> Self {
        Self(units)
    }

    pub(super) fn burn(&mut self, units: usize) -> Result<(), OutOfFuel> {
        self.0 = self.0.checked_sub(units).ok_or(OutOfFuel)?;
        Ok(())
    }

    pub(super) fn burn_bytes(&mut self, bytes: usize) -> Result<(), OutOfFuel> {
        self.burn(1 + bytes / BYTES_PER_UNIT)
    }
}

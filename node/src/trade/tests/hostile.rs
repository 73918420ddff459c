//! Hostile peers and hostile circumstances.


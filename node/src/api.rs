//! All that a node can do, as one typed façade; and its first face, a control API over loopback HTTP.

pub mod client;
pub mod types;

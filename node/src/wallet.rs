//! (room: wallet)

pub mod connector;

//! (room: trade)

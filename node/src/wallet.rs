//! (room: wallet)

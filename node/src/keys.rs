//! (room: keys)

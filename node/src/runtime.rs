//! (room: runtime)

//! (room: mint)

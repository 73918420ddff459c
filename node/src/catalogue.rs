//! (room: catalogue)

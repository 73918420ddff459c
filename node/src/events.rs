//! (room: events)

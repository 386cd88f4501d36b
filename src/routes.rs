//! Which route a path belongs to; pure.

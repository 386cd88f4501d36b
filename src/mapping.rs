//! Identity to user, by rules; pure.

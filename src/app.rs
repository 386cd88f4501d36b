//! Builds every part, in order; runs, reloads, drains.

//! Users' workspaces: one start at a time, adopted at start.

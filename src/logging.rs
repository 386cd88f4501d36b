//! Log format and filter.

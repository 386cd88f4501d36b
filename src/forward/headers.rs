//! Headers of forwarded requests and responses: pure functions.

//! Accepts connections: limits, TLS, HTTP.

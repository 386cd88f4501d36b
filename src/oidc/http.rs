//! Calls to the provider: TLS always verified, deadlines, bounded bodies, no redirects followed.

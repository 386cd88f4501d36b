//! One request: parse, route, session, authorize, resolve, forward.

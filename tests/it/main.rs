//! What hubgate does, over real sockets.

mod forwarding;

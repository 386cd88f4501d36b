//! What hubgate's tests share.

pub mod upstream;

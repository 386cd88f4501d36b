//! Health and metrics on their own address.

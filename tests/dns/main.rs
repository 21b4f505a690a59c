//! Names as real clients see them: dig, getent, ping, curl, the resolvers of glibc, busybox and
//! musl, in namespaces on a running switch, with an upstream resolver of the test's own.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../support/netns.rs"]
mod netns;

mod bench;
mod foreign;
mod hostile;
mod life;
mod own;
mod upstream;

//! What the resolver counts.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $field:ident,)*) => {
        /// Counters that several threads read while one counts.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $field: AtomicU64,)*
        }

        /// The counters at one time.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct ResolverStats {
            $($(#[doc = $doc])+ pub $field: u64,)*
        }

        impl Counters {
            /// What has been counted so far.
            pub fn stats(&self) -> ResolverStats {
                ResolverStats { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }

        impl ResolverStats {
            /// Names and values, in the order they are shown in.
            pub const fn rows(&self) -> [(&'static str, u64); [$(stringify!($field)),*].len()] {
                [$((stringify!($field), self.$field)),*]
            }
        }
    };
}

counters! {
    /// Messages at 127.0.0.11 in all namespaces.
    queries,
    /// Of those: no query at all, so that nothing was said.
    not_a_query,
    /// Questions about names that are nobody's here, at 127.0.0.11 and at gateways.
    unknown_names,
    /// Of those: answered from what an upstream had said lately.
    from_cache,
    /// Questions to one upstream.
    asked,
    /// Of those: asked again over TCP, because the answer was too long.
    asked_by_tcp,
    /// Upstreams that said nothing in time, or could not be reached.
    unanswered,
    /// Upstreams that said that they failed, or refused.
    failed,
    /// Datagrams that were no answer to what was asked: perhaps forged.
    mismatched,
    /// Questions that ended without an answer of any upstream (SERVFAIL).
    given_up,
    /// Questions refused because too many of one host, or of all, were on their way.
    too_many,
    /// Connections refused because a host had as many as it may.
    too_many_connections,
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

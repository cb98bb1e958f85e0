//! The whole product, as its users meet it: the real program in its own process, before the emulated upstream.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test stops at the first thing that is wrong"
)]

mod archive;
mod blanking;
mod bound;
mod canary;
mod check;
mod clock_jumps;
mod collector;
mod copy;
mod crash;
mod damage;
mod diff;
mod effects;
mod export;
mod find_secret;
mod flood;
mod harness;
mod hops;
mod hostile;
mod hung_up;
mod measured;
mod memory;
mod once;
mod one_use;
mod overload;
mod policy;
mod psk_age;
mod questions;
mod reading;
mod reconcile;
mod refusals;
mod reload;
mod replicas;
mod rotation;
mod shapes;
mod shared;
mod stopping;
mod store_faults;
mod strangers;
mod system_faults;
mod tail;
mod traces;
mod unheard;
mod way;

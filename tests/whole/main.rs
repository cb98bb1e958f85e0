//! The whole product, as its users meet it: the real program in its own process, before the emulated upstream.

mod harness;
mod way;

//! The `tunnelwarden` program.

fn main() {}

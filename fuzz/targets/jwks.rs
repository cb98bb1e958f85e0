//! Key sets: whatever an issuer's server or file holds is a bounded set of fit keys or an error, and no complaint quotes it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tunnelwarden::identify::check_set;

fuzz_target!(|bytes: &[u8]| {
    let Ok((keys, complaints)) = check_set(bytes) else { return };
    assert!(keys <= 100);
    assert!(complaints.len() <= 100);
    assert!(complaints.iter().all(|complaint| complaint.len() < 200), "a complaint quotes the set");
});

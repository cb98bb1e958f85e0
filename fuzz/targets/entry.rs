//! Entries: an entry has one written form, and what stays of an archived one is its own stub.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tunnelwarden::{archive, entry};

fuzz_target!(|text: &str| {
    let written = entry::written(text.as_bytes());
    if let Ok(written) = &written {
        assert_eq!(
            entry::written(written.as_bytes()).as_deref(),
            Ok(&**written),
            "its form has another form"
        );
    }
    let Ok(parsed) = entry::parse(text.as_bytes()) else {
        assert!(archive::stub(text).is_err(), "a stub of what is no entry");
        return;
    };
    assert_eq!(written.as_deref(), Ok(parsed.to_text().as_str()));
    let Ok(stub) = archive::stub(text) else { return };
    assert_eq!(archive::stub(&stub).as_deref(), Ok(&*stub), "a stub has another stub");
    let left = entry::parse(stub.as_bytes()).expect("a stub is an entry");
    for name in ["kind", "id", "time", "request_id", "subject", "decision"] {
        assert_eq!(left.get(name), parsed.get(name), "{name} is gone");
    }
});

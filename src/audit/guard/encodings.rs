//! The usual encodings of a secret, written by other code than what the guard reads them with: for tests and fuzzing.

use std::fmt::Write as _;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

fn each(secret: &str, write: impl Fn(&mut String, char, usize)) -> String {
    secret.chars().enumerate().fold(String::new(), |mut out, (at, char)| {
        write(&mut out, char, at);
        out
    })
}

fn bytes(secret: &str, plain: fn(u8) -> bool, write: fn(&mut String, u8)) -> String {
    secret.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(char::from(byte))
        } else {
            write(&mut out, byte)
        }
        out
    })
}

/// One of the usual encodings.
pub(super) fn encoded(secret: &str, how: usize) -> String {
    let utf16 = |out: &mut String, char: char| {
        for unit in char.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04X}");
        }
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match how {
        0 => secret.to_owned(),
        1 => serde_json::to_string(secret).unwrap(),
        2 => each(secret, |out, char, _| utf16(out, char)),
        3 => each(
            secret,
            |out, char, at| if at % 2 == 0 && char != '\\' { out.push(char) } else { utf16(out, char) },
        ),
        4 => bytes(secret, |_| false, |out, byte| write!(out, "\\x{byte:02x}").unwrap()),
        5 => bytes(secret, unreserved, |out, byte| write!(out, "%{byte:02X}").unwrap()),
        6 => bytes(secret, unreserved, |out, byte| write!(out, "%{byte:02x}").unwrap()),
        7 => bytes(secret, |_| false, |out, byte| write!(out, "%{byte:02x}").unwrap()),
        8 => bytes(secret, unreserved, |out, byte| {
            if byte == b' ' { out.push('+') } else { write!(out, "%{byte:02X}").unwrap() }
        }),
        9 => secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
            .replace('\'', "&#x27;"),
        10 => each(secret, |out, char, _| write!(out, "&#{};", u32::from(char)).unwrap()),
        11 => HEXLOWER.encode(secret.as_bytes()),
        12 => HEXUPPER.encode(secret.as_bytes()),
        13 => BASE64.encode(secret.as_bytes()),
        14 => BASE64_NOPAD.encode(secret.as_bytes()),
        15 => BASE64URL.encode(secret.as_bytes()),
        16 => BASE64URL_NOPAD.encode(secret.as_bytes()),
        17 => BASE64.encode(format!("a{secret}bc").as_bytes()),
        18 => BASE64URL_NOPAD.encode(format!("ab{secret}d").as_bytes()),
        19 => BASE64.encode(encoded(secret, 1).as_bytes()),
        20 => encoded(&encoded(secret, 1), 1),
        21 => encoded(&encoded(secret, 13), 5),
        _ => encoded(&encoded(secret, 9), 1),
    }
}

/// How many there are.
pub(super) const COUNT: usize = 23;

/// What of a masked text could still give the secret away: the encoded form itself, without the ends that
/// depend on what stands beside it.
pub(super) fn core(encoded: &str) -> &str {
    let from = encoded.ceil_char_boundary(2.min(encoded.len() / 4));
    let to = encoded.floor_char_boundary(encoded.len() - 4.min(encoded.len() / 4));
    &encoded[from..to]
}

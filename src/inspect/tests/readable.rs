//! A secret that somebody put into a text is found there, and what is told of it does not repeat it.

use super::keys::{entry, record};
use crate::inspect::{Readables, Search};
use crate::secret::SecretString;

const TIME: &str = "2026-01-01T10:00:00";

/// What is found of a secret in these entries.
async fn found(secret: &str, entries: Vec<String>) -> Readables {
    let (_directory, reader) = record(entries).await;
    let secret = SecretString::from(secret);
    let mut search = Search::new(&secret);
    let mut seen = 0;
    search.record(&reader, &mut |entries| seen += entries).await.unwrap();
    assert_eq!(Some(seen), reader.last().await.unwrap().map(|last| last + 1));
    search.found()
}

/// The places at which it is found in an entry with these members.
async fn places(secret: &str, members: &str) -> Vec<String> {
    let readables = found(secret, vec![entry("outcome", 1, 1, TIME, members)]).await;
    readables.entries.into_values().flat_map(|readable| readable.at).collect()
}

#[tokio::test]
async fn a_secret_is_found_in_each_text_and_name_however_it_is_written() {
    for (secret, members, expected) in [
        ("a-key-of-ours", r#""user_agent":"curl a-key-of-ours""#, &["/user_agent"][..]),
        (
            "a-key-of-ours",
            r#""request":{"body":{"description":"x a-key-of-ours","list":["a","a-key-of-ours"]}}"#,
            &["/request/body/description", "/request/body/list/1"],
        ),
        ("a-key-of-ours", r#""user_agent":"a-key-of-our""#, &[]),
        ("with \"quotes\" \\ and é", r#""a":"with \"quotes\" \\ and \u00e9.""#, &["/a"]),
        // An escape has a letter that is none of the text's.
        ("nothing", r#""a":"x\nothing""#, &[]),
        ("nothing", r#""a":"x\\nothing""#, &["/a"]),
        // Across two texts nobody wrote it.
        (r#"ab","cd"#, r#""a":["xab","cdx"]"#, &[]),
        // A short one stands in words by chance.
        ("abc", r#""a":"abcd","b":"abc""#, &["/b"]),
        ("a/key~of", r#""a":{"x a/key~of":1}"#, &["/a/x [the secret]"]),
    ] {
        assert_eq!(places(secret, members).await, expected, "{secret}: {members}");
    }
}

#[tokio::test]
async fn what_is_told_of_an_entry_does_not_repeat_the_secret() {
    let secret = "s1-is-a-key-of-ours";
    let named = entry("outcome", 1, 1, TIME, r#""status":200"#).replace(r#""s1""#, &format!("{secret:?}"));
    let readables = found(secret, vec![named]).await;
    let readable = &readables.entries[&0];
    assert_eq!(
        (readable.at.as_slice(), readable.told.word("subject")),
        (&["/subject".to_owned()][..], "[the secret]")
    );
}

#[tokio::test]
async fn of_a_word_that_is_everywhere_some_entries_are_told_and_the_rest_is_counted() {
    let many = (1..=1003).map(|n| entry("outcome", n, n, TIME, r#""status":200"#)).collect();
    let readables = found("set_psks", many).await;
    assert_eq!((readables.entries.len(), readables.more), (1000, 3));
}

#[tokio::test]
async fn entries_of_which_parts_are_in_an_archive_are_counted_unless_it_was_looked_into() {
    let whole =
        |n| entry("outcome", n, n, TIME, r#""request":{"size":9,"body":{"description":"a-key-of-ours"}}"#);
    let stub = crate::archive::stub(&whole(1)).unwrap().into_owned();
    let readables = found("a-key-of-ours", vec![stub.clone(), whole(2)]).await;
    assert_eq!((readables.entries.keys().copied().collect::<Vec<_>>(), readables.archived), (vec![1], 1));
    let (_directory, reader) = record(vec![stub, whole(2)]).await;
    let secret = SecretString::from("a-key-of-ours");
    let mut search = Search::new(&secret);
    search.look(0, &whole(1));
    // Whatever an archive says of a whole entry, it is looked at where it stands.
    search.looked_at(0..2);
    search.record(&reader, &mut |_| {}).await.unwrap();
    let readables = search.found();
    assert_eq!((readables.entries.keys().copied().collect::<Vec<_>>(), readables.archived), (vec![0, 1], 0));
}

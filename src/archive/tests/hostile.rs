//! Files that an attacker wrote: every change is refused, and none costs more than a line.

use std::cell::Cell;

use super::*;

#[track_caller]
fn refused(log: &Log, text: &[u8]) -> ArchiveError {
    take(&pack(text), &log.keys()).map(|(_, proven)| proven).unwrap_err()
}

/// The text of the usual archive.
fn text(log: &Log) -> String {
    String::from_utf8(unpack(&log.archive(FROM, TO).0).unwrap()).unwrap()
}

#[test]
fn no_byte_of_the_text_can_change() {
    let log = Log::usual();
    let text = text(&log).into_bytes();
    assert!(take(&pack(&text), &log.keys()).is_ok(), "the text as it is");
    let first = text.iter().position(|b| *b == b'\n').unwrap() + 2;
    let ends: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
    let at_an_end = |at: usize| ends.iter().any(|end| at.abs_diff(*end) < 4);
    for at in (0..text.len()).filter(|at| *at < first || at.is_multiple_of(5) || at_an_end(*at)) {
        for change in [1u8, 0x07, 0x20, 0x80] {
            let mut changed = text.clone();
            changed[at] ^= change;
            assert!(take(&pack(&changed), &log.keys()).is_err(), "byte {at} by {change:#x}");
        }
        for more in [b' ', b'\r', b'\n', b'0'] {
            let mut longer = text.clone();
            longer.insert(at, more);
            assert!(take(&pack(&longer), &log.keys()).is_err(), "{more} before byte {at}");
        }
        let mut shorter = text.clone();
        shorter.remove(at);
        assert!(take(&pack(&shorter), &log.keys()).is_err(), "without byte {at}");
    }
}

#[test]
fn a_changed_byte_of_the_file_is_refused_or_tells_the_same_under_another_hash() {
    let log = Log::usual();
    let (file, proven) = log.archive(FROM, TO);
    let entries = take(&file, &log.keys()).unwrap().0;
    let mut same = 0;
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            if let Ok((read, other)) = take(&changed, &log.keys()) {
                assert!(at >= GZIP.len() && at < file.len() - 8, "byte {at}");
                assert_eq!(read, entries, "byte {at}");
                assert_ne!(other.sha256, proven.sha256, "byte {at}");
                same += 1;
            }
        }
    }
    // Bits that fill the last byte of the compressed text, and few others.
    assert!(same < 16, "{same}");
}

#[test]
fn a_file_that_was_cut_is_refused_wherever_it_was_cut() {
    let log = Log::usual();
    let file = log.archive(FROM, TO).0;
    for at in 0..file.len() {
        assert!(take(&file[..at], &log.keys()).is_err(), "cut at {at}");
    }
    let text = text(&log).into_bytes();
    for at in (0..text.len()).step_by(3).chain([text.len() - 1]) {
        let error = refused(&log, &text[..at]);
        assert!(matches!(error, ArchiveError::Short(_)), "cut at {at}: {error}");
    }
}

#[test]
fn nothing_stands_behind_the_end() {
    let log = Log::usual();
    let (file, text) = (log.archive(FROM, TO).0, text(&log));
    for more in ["\n", " ", &(entry(TO) + "\n"), &(entry(11) + "\n"), "{}"] {
        let error = refused(&log, format!("{text}{more}").as_bytes());
        assert!(matches!(error, ArchiveError::More { last: 11 }), "{more}: {error}");
    }
    let empty = pack(b"");
    for more in [b"\0".as_slice(), b"\n", &empty, &pack(b"\n"), &file] {
        let longer = [&file, more].concat();
        assert!(matches!(take(&longer, &log.keys()), Err(ArchiveError::Trailing)));
    }
    // Two members that make one text.
    let (front, back) = text.split_at(text.len() / 2);
    let halves = [pack(front.as_bytes()), pack(back.as_bytes())].concat();
    assert_eq!(unpack(&halves).unwrap(), text.as_bytes());
    assert!(take(&halves, &log.keys()).is_err());
}

#[test]
fn lines_are_taken_only_as_they_are_written() {
    let log = Log::usual();
    let text = text(&log);
    let of = |from: &str, to: &str| refused(&log, text.replacen(from, to, 1).as_bytes());
    let header = |error: ArchiveError| assert!(matches!(error, ArchiveError::Header), "{error}");
    header(of(r#""from":5"#, r#""from":5.0"#));
    header(of(r#""from":5"#, r#""from":-5"#));
    header(of(r#""from":5"#, r#""from":"5""#));
    header(of(r#""from":5"#, r#""from": 5"#));
    header(of(r#""from":5"#, r#""from":5,"from":5"#));
    header(of(r#""from":5"#, r#""from":5,"more":[]"#));
    header(of(r#""from":5,"to":12"#, r#""to":12,"from":5"#));
    header(of(r#""from":5"#, r#""fr\u006fm":5"#));
    header(of(r#""from":5"#, r#""from":18446744073709551616"#));
    header(of("archive/1", "archive/2"));
    header(of("}\n", "}\r\n"));
    header(refused(&log, b"\n"));
    header(refused(&log, &text.as_bytes()[text.find('\n').unwrap() + 1..]));
    assert!(matches!(of("\n", "\n\n"), ArchiveError::Entry { seq: FROM, source: StubError::Form(_) }));
    assert!(matches!(of("intent", "novels"), ArchiveError::Entry { seq: FROM, source: StubError::Form(_) }));
    assert!(matches!(refused(&log, text.replace("\n", "\r\n").as_bytes()), ArchiveError::Header));
    // White space that JSON allows is another text.
    assert!(matches!(of("]}\n", "]} \n"), ArchiveError::Root { from: FROM, last: 11 }));
    assert!(matches!(of("]}\n", "]}\r\n"), ArchiveError::Root { .. }));
    let mut bytes = text.clone().into_bytes();
    let at = text.find("body 5").unwrap();
    bytes[at] = 0xff;
    assert!(matches!(refused(&log, &bytes), ArchiveError::Entry { seq: FROM, source: StubError::Utf8 }));
    // An entry named twice by one reader and once by another.
    let twice = of(r#"{"kind":"intent""#, r#"{"kind":"refusal","kind":"intent""#);
    assert!(matches!(twice, ArchiveError::Entry { seq: FROM, source: StubError::Form(_) }));
}

#[test]
fn entries_and_checkpoints_of_others_are_refused() {
    let (log, other) = (Log::usual(), Log::new((0..ENTRIES).map(|n| entry(n).replace("body", "BODY"))));
    let (ours, theirs) = (text(&log), text(&other));
    let split = |text: &str| text.split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let ((head, entries), (their_head, their_entries)) = (split(&ours), split(&theirs));
    let with = |head: &str, entries: &str| refused(&log, format!("{head}\n{entries}").as_bytes());

    assert!(matches!(with(&head, &their_entries), ArchiveError::Root { .. }));
    let signed_by_them = with(&their_head, &their_entries);
    assert!(matches!(signed_by_them, ArchiveError::Checkpoint(NoteError::Signature)), "{signed_by_them}");
    assert!(matches!(with(&their_head, &entries), ArchiveError::Checkpoint(NoteError::Signature)));

    // A checkpoint of ours, over more or fewer entries.
    let note = |to| log.note(to).replace('\n', "\\n");
    for to in [TO - 1, TO + 1, FROM, 1] {
        let error = with(&head.replace(&note(TO), &note(to)), &entries);
        assert!(matches!(error, ArchiveError::Size { to: TO, .. } | ArchiveError::Empty { .. }), "{error}");
    }
    let later = with(&head.replace(&note(TO), &note(13)).replace(":12,", ":13,"), &entries);
    assert!(matches!(later, ArchiveError::Short(Place::Entry(12))), "{later}");
    let earlier = with(&head.replace(&note(TO), &note(11)).replace(":12,", ":11,"), &entries);
    assert!(matches!(earlier, ArchiveError::More { last: 10 } | ArchiveError::Root { .. }), "{earlier}");

    // Another beginning, with as many subtrees and with others.
    let first = entries.lines().next().unwrap().len() + 1;
    let moved = with(&head.replace(r#""from":5"#, r#""from":6"#), &entries[first..]);
    assert!(matches!(moved, ArchiveError::Root { .. }), "{moved}");
    let moved = with(&head.replace(r#""from":5"#, r#""from":7"#), &entries);
    assert!(matches!(moved, ArchiveError::Left { from: 7 }), "{moved}");
    let [one, two] = log.roots(FROM).try_into().unwrap();
    let turned = head.replace(&format!(r#""{one}","{two}""#), &format!(r#""{two}","{one}""#));
    assert!(matches!(with(&turned, &entries), ArchiveError::Root { .. }));
    let named = with(&head.replace(r#""origin":"tunnelwarden/test""#, r#""origin":"other""#), &entries);
    assert!(matches!(named, ArchiveError::Checkpoint(NoteError::Origin)), "{named}");
}

#[test]
fn what_stays_of_entries_is_no_archive_of_them() {
    let log = Log::usual();
    let text: Vec<String> = text(&log)
        .lines()
        .enumerate()
        .map(|(n, line)| if n == 0 { line.into() } else { stub(line).unwrap().into() })
        .collect();
    assert!(matches!(refused(&log, (text.join("\n") + "\n").as_bytes()), ArchiveError::Root { .. }));
}

/// A file without end: one piece of compressed text again and again.
struct Endless<'a> {
    front: Vec<u8>,
    piece: Vec<u8>,
    at: usize,
    read: &'a Cell<usize>,
}

impl std::io::Read for Endless<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.front.len() {
            (self.front, self.at) = (self.piece.clone(), 0);
        }
        let mut rest = &self.front[self.at..];
        let read = rest.read(into)?;
        self.at += read;
        self.read.set(self.read.get() + read);
        Ok(read)
    }
}

/// What is said of a file that begins so and goes on with `x` for ever, and how many bytes of it were read.
fn bomb(log: &Log, begin: &str) -> (ArchiveError, usize) {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    packed.write_all(begin.as_bytes()).unwrap();
    // What was taken before stands in whole bytes, and behind it anything may follow.
    packed.flush().unwrap();
    let front = packed.get_ref().clone();
    packed.write_all(&[b'x'; 1 << 20]).unwrap();
    packed.flush().unwrap();
    let piece = packed.get_ref()[front.len()..].to_vec();
    assert!(piece.len() < 4096, "a thousand times smaller");
    let read = Cell::new(0);
    let endless = Endless { front, piece, at: 0, read: &read };
    let mut error = None;
    match Reader::open(endless, &log.keys()) {
        Ok(reader) => error = reader.finish().err(),
        Err(e) => drop(error.insert(e)),
    }
    (error.unwrap(), read.get())
}

#[test]
fn a_bomb_ends_with_the_line_that_is_too_long() {
    let log = Log::usual();
    let (error, read) = bomb(&log, "");
    assert!(matches!(error, ArchiveError::Long(Place::Header)), "{error}");
    assert!(read <= 64 << 10, "{read} bytes");
    let begin: String = text(&log).lines().take(3).map(|line| format!("{line}\n")).collect();
    let (error, read) = bomb(&log, &begin);
    assert!(matches!(error, ArchiveError::Long(Place::Entry(7))), "{error}");
    assert!(read <= 128 << 10, "{read} bytes");
}

#[test]
fn a_count_sets_nothing_aside() {
    let log = Log::usual();
    let size = u64::MAX >> 1;
    let signed = Checkpoint { size, root: leaf_hash(b""), chain: None }.sign(&log.signer).unwrap();
    let header = Header::new(0, Vec::new(), &signed, &log.keys()).unwrap();
    let error = refused(&log, format!("{}\n{}\n", header.to_line(), entry(0)).as_bytes());
    assert!(matches!(error, ArchiveError::Short(Place::Entry(1))), "{error}");
}

#[test]
fn what_is_no_gzip_of_ours_is_foreign() {
    let log = Log::usual();
    let file = log.archive(FROM, TO).0;
    for at in 0..GZIP.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(matches!(take(&changed, &log.keys()), Err(ArchiveError::Foreign)), "byte {at}");
        assert!(matches!(take(&file[..at], &log.keys()), Err(ArchiveError::Foreign)));
    }
    let mut named = flate2::GzBuilder::new().filename("a").write(Vec::new(), flate2::Compression::new(6));
    named.write_all(text(&log).as_bytes()).unwrap();
    assert!(matches!(take(&named.finish().unwrap(), &log.keys()), Err(ArchiveError::Foreign)));
    assert!(matches!(take(text(&log).as_bytes(), &log.keys()), Err(ArchiveError::Foreign)));
}

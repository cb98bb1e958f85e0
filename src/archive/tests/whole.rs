//! What is written is read back, and what is not proven is not written.

use super::*;

#[test]
fn what_is_written_is_read_back() {
    let log = Log::usual();
    for from in 0..ENTRIES {
        for to in from + 1..=ENTRIES {
            let (file, written) = log.archive(from, to);
            let (entries, read) = take(&file, &log.keys()).unwrap();
            assert_eq!(entries, (from..to).map(|n| (n, entry(n))).collect::<Vec<_>>());
            assert_eq!(read, written);
            let header = &read.header;
            assert_eq!((header.from(), header.to(), header.origin()), (from, to, "tunnelwarden/test"));
            assert_eq!((header.note(), header.checkpoint().size), (log.note(to).as_str(), to));
        }
    }
}

#[test]
fn what_is_proven_of_a_file_is_what_others_compute_of_it() {
    let log = Log::usual();
    let (file, proven) = log.archive(FROM, TO);
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file);
    assert_eq!(proven.sha256, data_encoding::HEXLOWER.encode(sha256.as_ref()));
    assert_eq!(proven.bytes, file.len() as u64);
    let mut stubs = Tree::new();
    for entry in log.between(FROM, TO) {
        let _ = stubs.push(leaf_hash(stub(entry).unwrap().as_bytes()));
    }
    assert_eq!(proven.stubs, stubs.root());
}

#[test]
fn a_file_is_gzip_over_a_header_and_the_entries_as_they_are() {
    let log = Log::usual();
    let text = String::from_utf8(unpack(&log.archive(FROM, TO).0).unwrap()).unwrap();
    let (header, entries) = text.split_once('\n').unwrap();
    let [first, second] = log.roots(FROM).try_into().unwrap();
    let note = log.note(TO).replace('\n', "\\n");
    assert_eq!(
        header,
        format!(
            r#"{{"archive":"tunnelwarden.archive/1","origin":"tunnelwarden/test","from":5,"to":12,"left":["{first}","{second}"],"checkpoint":"{note}"}}"#
        )
    );
    assert_eq!(entries, (FROM..TO).map(|n| entry(n) + "\n").collect::<String>());
}

#[test]
fn the_same_entries_make_the_same_bytes() {
    let log = Log::usual();
    let (file, proven) = log.archive(FROM, TO);
    assert_eq!((file.clone(), proven), log.archive(FROM, TO));
    assert!(file.starts_with(&GZIP));
}

#[test]
fn every_one_of_several_keys_is_taken() {
    let (log, other) = (Log::usual(), Log::usual());
    let keys = [other.keys(), log.keys()].concat();
    for log in [log, other] {
        let (file, _) = log.archive(FROM, TO);
        assert!(take(&file, &keys).is_ok());
        assert!(matches!(take(&file, &[]), Err(ArchiveError::Checkpoint(NoteError::Signature))));
    }
}

#[test]
fn a_header_without_entries_or_with_other_roots_is_not_made() {
    let log = Log::usual();
    let (note, keys) = (log.note(TO), log.keys());
    for from in [TO, TO + 1, u64::MAX] {
        let header = Header::new(from, Vec::new(), &note, &keys);
        assert!(matches!(header, Err(ArchiveError::Empty { .. })), "{from}");
    }
    let empty = Header::new(0, Vec::new(), &log.note(0), &keys);
    assert!(matches!(empty, Err(ArchiveError::Empty { from: 0, to: 0 })));
    for from in [0, 3, 4, 6] {
        let header = Header::new(from, log.roots(7), &note, &keys);
        assert!(matches!(header, Err(ArchiveError::Left { .. })), "{from}");
    }
}

/// A file is not ended, and nobody takes it.
#[track_caller]
fn has_no_end(log: &Log, file: &[u8]) {
    assert!(unpack(file).is_err());
    assert!(take(file, &log.keys()).is_err());
}

#[test]
fn what_is_not_proven_is_not_finished() {
    let log = Log::usual();
    let wrong = |from: u64, to: u64, entries: &[String]| {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, log.header(from, to)).unwrap();
        entries.iter().for_each(|entry| drop(writer.push(entry).unwrap()));
        let error = writer.finish().unwrap_err();
        has_no_end(&log, &file);
        error
    };
    let right = log.between(FROM, TO);
    let short = wrong(FROM, TO, &right[..6]);
    assert!(matches!(short, ArchiveError::Short(Place::Entry(11))), "{short}");
    let mut changed = right.to_vec();
    changed[3] = changed[3].replace("name", "mane");
    changed[3].push(' ');
    let changed = wrong(FROM, TO, &changed);
    assert!(matches!(changed, ArchiveError::Root { from: FROM, last: 11 }), "{changed}");
    let mut swapped = right.to_vec();
    swapped.swap(0, 1);
    assert!(matches!(wrong(FROM, TO, &swapped), ArchiveError::Root { .. }));
    assert!(matches!(wrong(FROM, TO, &log.entries[4..11]), ArchiveError::Root { .. }));

    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, log.header(FROM, TO)).unwrap();
    right.iter().for_each(|entry| drop(writer.push(entry).unwrap()));
    drop(writer);
    has_no_end(&log, &file);
}

#[test]
fn a_text_that_is_no_line_of_an_archive_is_not_written() {
    let log = Log::usual();
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, log.header(FROM, TO)).unwrap();
    let mut refused = |text: &str, pattern: fn(&ArchiveError) -> bool| {
        let error = writer.push(text).unwrap_err();
        assert!(pattern(&error), "{error}");
    };
    refused(&entry(FROM).replacen(',', ",\n", 1), |e| matches!(e, ArchiveError::LineFeed(FROM)));
    refused("", |e| matches!(e, ArchiveError::Entry { seq: FROM, source: StubError::Form(_) }));
    refused(&front(FROM), |e| matches!(e, ArchiveError::Entry { seq: FROM, source: StubError::Form(_) }));
    let long = entry(FROM) + &" ".repeat(MAX_ENTRY);
    refused(&long, |e| matches!(e, ArchiveError::Long(Place::Entry(FROM))));
    // Nothing was written of these.
    (FROM..TO).for_each(|n| drop(writer.push(&entry(n)).unwrap()));
    assert!(matches!(writer.push(&entry(TO)), Err(ArchiveError::More { last: 11 })));
    writer.finish().unwrap();
    assert!(take(&file, &log.keys()).is_ok());
}

#[test]
fn the_longest_entry_is_archived() {
    assert_eq!(MAX_ENTRY, crate::store::MAX_ENTRY);
    let room = MAX_ENTRY - front(1).len() - r#","client_address":""}"#.len();
    let longest = format!(r#"{},"client_address":"{}"}}"#, front(1), "x".repeat(room));
    assert_eq!(longest.len(), MAX_ENTRY);
    let log = Log::new([entry(0), longest].into_iter());
    let (file, written) = log.archive(0, 2);
    assert_eq!(take(&file, &log.keys()).unwrap().1, written);
}

/// Takes so many bytes and then fails, once.
struct Full {
    room: usize,
    file: Vec<u8>,
    failed: bool,
}

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.file.len() + bytes.len() > self.room && !self.failed {
            self.failed = true;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.file.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn where_the_disk_was_full_nothing_is_written_behind_it() {
    // Texts that don't get smaller, so that they get out while they are written.
    let noise = |n: u64| {
        let hash = |m: u64| leaf_hash(&[n, m].map(u64::to_be_bytes).concat()).to_string();
        format!(r#"{},"changed":["{}"]}}"#, front(n), (0..4000).map(hash).collect::<String>())
    };
    let log = Log::new((0..3).map(noise));
    let whole = log.archive(0, 3).0.len();
    for room in [0, 9, 60_000, 200_000, whole - 1] {
        let mut out = Full { room, file: Vec::new(), failed: false };
        let mut errors = 0;
        match Writer::new(&mut out, log.header(0, 3)) {
            Ok(mut writer) => {
                errors += log.entries.iter().filter(|entry| writer.push(entry).is_err()).count();
                errors += usize::from(writer.finish().is_err());
            }
            Err(_) => errors += 1,
        }
        assert!(out.failed && errors > 0, "{room}");
        has_no_end(&log, &out.file);
    }
}

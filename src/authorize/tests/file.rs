//! The policy's file.

use super::super::{check, read_policy};

const RULE: &str = "@id(\"a\")\npermit (principal, action, resource);\n";

#[test]
fn a_file_is_read_whole_or_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.cedar");
    assert!(read_policy(&path).unwrap_err().contains("can't be read"));
    std::fs::write(&path, RULE).unwrap();
    assert_eq!(read_policy(&path).as_deref(), Ok(RULE));
    std::fs::write(&path, b"// \xff").unwrap();
    assert!(read_policy(&path).unwrap_err().contains("not UTF-8"));
    let most = 1 << 20;
    std::fs::write(&path, " ".repeat(most)).unwrap();
    assert_eq!(read_policy(&path).map(|text| text.len()), Ok(most));
    std::fs::write(&path, " ".repeat(most + 1)).unwrap();
    assert!(read_policy(&path).unwrap_err().contains("larger than 1048576 bytes"));
}

#[test]
fn everything_that_is_wrong_with_a_file_is_told_under_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.cedar");
    let told = |text: &str| {
        std::fs::write(&path, text).unwrap();
        check(&path)
    };
    assert_eq!(told(RULE), []);
    let rule = RULE.lines().last().unwrap();
    let problems = told(&format!("{rule}\n{rule}\n"));
    assert_eq!(problems.len(), 2);
    for (key, what) in problems {
        assert!(
            key == "policy.file" && what.contains("policy.cedar`") && what.contains("@id"),
            "{key}: {what}"
        );
    }
    std::fs::remove_file(&path).unwrap();
    let [(key, what)] = check(&path).try_into().unwrap();
    assert!(key == "policy.file" && what.contains("can't be read"), "{what}");
}

//! Which process has a log.
//!
//! A process that died keeps its log until its time is over, as from elsewhere nobody can tell that it died. Here one can: where
//! it ran in the same process namespace since the same boot, the system knows whether it still does. Taking a log from one that
//! lives would be no harm to the record, as then nothing that it has under way comes true; it would only end its service.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Where the system tells of processes.
const PROCESSES: &str = "/proc";

/// A process's name among all that ever were: boot, process namespace, process id, when it began, and random bytes.
#[derive(Debug)]
pub(super) struct Holder(String);

impl Holder {
    /// This process.
    pub(super) fn own() -> Self {
        let mut random = [0; 8];
        // Without them two stores within one process have one name, and each takes the log from the other.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let id = std::process::id();
        Self(format!(
            "{} {id} {} {:016x}",
            world(),
            match seen(Path::new(PROCESSES), id) {
                Seen::Began(at) => at,
                Seen::Ended | Seen::Hidden => String::new(),
            },
            u64::from_be_bytes(random)
        ))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether this holder is known to be no more.
pub(super) fn is_gone(holder: &str) -> bool {
    let mut parts = holder.split(' ');
    let here = parts.next().is_some_and(|world_of| world_of == world() && !world_of.is_empty());
    let id = parts.next().and_then(|id| id.parse().ok());
    match (here, id, parts.next()) {
        (true, Some(id), Some(then)) => match seen(Path::new(PROCESSES), id) {
            Seen::Began(at) => at != then,
            Seen::Ended => true,
            Seen::Hidden => false,
        },
        _ => false,
    }
}

/// Where process ids mean the same: since this boot, in this namespace. Empty where that can't be told.
fn world() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => format!("{}/{}", boot.trim(), namespace.display()),
        _ => String::new(),
    }
}

/// What can be seen of a process.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// It lives, and began so many ticks after the boot (proc(5), field 22 of `stat`).
    Began(String),
    /// There is none of that number, or nobody has asked yet how it ended.
    Ended,
    /// It lives, and that is all that others are shown: another replica is not dumpable, so where processes are hidden
    /// (proc(5), `hidepid`; systemd's `ProtectProc`) it is, even from its own user.
    Hidden,
}

fn seen(processes: &Path, id: u32) -> Seen {
    let Ok(stat) = std::fs::read_to_string(processes.join(format!("{id}/stat"))) else {
        return if lives(id) { Seen::Hidden } else { Seen::Ended };
    };
    // Its name may hold anything, so what follows begins behind the last parenthesis.
    let mut rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    match rest.next() {
        None | Some("Z" | "X") => Seen::Ended,
        Some(_) => rest.nth(18).map_or(Seen::Ended, |began| Seen::Began(began.to_owned())),
    }
}

/// Whether there is a process of this number (kill(2), signal 0), whoever it belongs to.
fn lives(id: u32) -> bool {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| !matches!(test_kill_process(id), Err(Errno::SRCH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_that_ended_is_gone() {
        let own = Holder::own();
        assert!(!is_gone(own.as_str()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = child.id();
        let Seen::Began(then) = seen(Path::new(PROCESSES), id) else { panic!("it lives") };
        let of_child = |world: &str| format!("{world} {id} {then} 00");
        assert!(!is_gone(&of_child(&world())));
        child.kill().unwrap();
        while !is_gone(&of_child(&world())) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_gone(&of_child(&world())));
        // Another one that has its number by now.
        assert!(is_gone(&format!("{} {} 1 00", world(), std::process::id())));
        for elsewhere in [of_child("another-boot/pid:[1]"), of_child(""), "".to_owned(), "a b c".to_owned()] {
            assert!(!is_gone(&elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_process_that_is_hidden_is_not_gone() {
        let nothing = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(seen(nothing.path(), child.id()), Seen::Hidden);
        assert_eq!(seen(nothing.path(), std::process::id()), Seen::Hidden);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen(nothing.path(), child.id()), Seen::Ended);
    }
}

//! Which process has a log.
//!
//! A process that died keeps its log until its time is over, as from elsewhere nobody can tell that it died. Here one can: where
//! it ran in the same process namespace since the same boot, the system knows whether it still does. Taking a log from one that
//! lives would be no harm to the record, as then nothing that it has under way comes true; it would only end its service.

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
            began(id).unwrap_or_default(),
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
        (true, Some(id), Some(then)) => began(id).as_deref() != Some(then),
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

/// When a process began, in ticks since the boot (proc(5), field 22 of `stat`); none where there is no such process.
fn began(id: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Its name may hold anything, so what follows begins behind the last parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut rest = rest.split_whitespace();
    // One that ended and that nobody has asked about yet.
    if matches!(rest.next(), None | Some("Z" | "X")) {
        return None;
    }
    rest.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_that_ended_is_gone() {
        let own = Holder::own();
        assert!(!is_gone(own.as_str()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (id, then) = (child.id(), began(child.id()).unwrap());
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
}

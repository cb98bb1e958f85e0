//! The `tunnelwarden` program.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;
use tunnelwarden::cli::{Cli, Env, Exit, Terminal, log, memory, run};
use tunnelwarden::clock::SystemClock;
use zeroizing_alloc::ZeroAlloc;

/// Wipes whatever is freed, whoever had it: buffers of HTTP, TLS and the database's client are not ours to wipe.
/// It stands on jemalloc, as all C code does: on glibc's `malloc` an overloaded proxy serves less and less (`benches/README.md`, "Soak").
#[global_allocator]
static WIPING: ZeroAlloc<Jemalloc> = ZeroAlloc(Jemalloc);

/// By how much a reader of the record is nicer than the proxy: it then gets a thirtieth of a core that both want.
const GIVES_WAY: i32 = 15;

fn main() -> ExitCode {
    log::install_panic_hook();
    // Before anything is read that is secret.
    let open = memory::is_open(std::env::var_os(memory::ALLOW_DUMPS).as_deref());
    if let Err(what) = open.and_then(|open| if open { Ok(()) } else { memory::close() }) {
        // Where even this can't be written, the exit code still tells.
        let _ = writeln!(std::io::stderr(), "error: {what}");
        return Exit::Failed.into();
    }
    let cli = Cli::parse();
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut vars: BTreeMap<String, String> = vars.collect();
    // Shells keep this variable to themselves, so the terminal is asked where it is one.
    if !vars.contains_key("COLUMNS")
        && let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
        && size.ws_col > 0
    {
        vars.insert("COLUMNS".to_owned(), size.ws_col.to_string());
    }
    let terminal = Terminal { out: std::io::stdout().is_terminal(), errors: std::io::stderr().is_terminal() };
    let env = Env { vars, clock: SystemClock::new(), terminal };
    // Before there are threads, as each has its own. Where it is not allowed, callers of a proxy beside it wait longer.
    if cli.gives_way() {
        let _ = rustix::process::nice(GIVES_WAY);
    }
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return Exit::Failed.into();
    };
    let exit = runtime.block_on(run(cli, &env, &mut std::io::stdout(), &mut std::io::stderr()));
    // What is still running serves nobody: a blocked name lookup must not hold the exit.
    runtime.shutdown_background();
    exit.into()
}

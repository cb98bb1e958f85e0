//! stub
use std::io::Write;
use super::{Env, Exit};
/// stub
#[derive(clap::Subcommand, Debug)]
pub enum Command { /// stub
 List }
/// stub
pub async fn run(_c: Command, _e: &Env, _o: &mut (dyn Write + Send)) -> Exit { Exit::Good }

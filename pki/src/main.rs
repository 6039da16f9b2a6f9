//! `duplex-pki`: the commands of `duplex pki` without the service, for computers that only keep certificates.
//!
//! What enters: arguments. What leaves: what the commands leave, and an exit code.
//! What it never does: read the service's configuration; the store is the current directory unless `--dir` names one.

use clap::Parser;
use std::path::Path;
use std::process::ExitCode;

/// The certificate authority of a Duplex device
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: duplex_pki::cli::Command,
}

fn main() -> ExitCode {
    match duplex_pki::cli::run(Arguments::parse().command, Path::new(".")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

//! The process edge: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

use flowlogd::{cli, telemetry};

fn main() -> ExitCode {
    match cli::execute(cli::Arguments::parse()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            telemetry::report_fatal(&failure.error, failure.exit.code());
            failure.exit.into()
        }
    }
}

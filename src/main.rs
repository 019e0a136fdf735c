//! The process edge: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;

use flowlogd::{allocator, cli, telemetry};

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    match cli::execute(cli::Arguments::parse()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            telemetry::report_fatal(&failure.error, failure.exit.code());
            failure.exit.into()
        }
    }
}

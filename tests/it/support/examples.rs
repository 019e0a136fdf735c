//! The example programs, built as the tests are.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

/// A command that runs the example `name`. `cargo test` builds the examples, `cargo test --test it` alone does not: so
/// they are brought up to date here, once.
pub(crate) fn example(name: &str) -> Command {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let test = env::current_exe().unwrap();
        let directory = test.ancestors().nth(2).unwrap();
        let profile = directory.file_name().unwrap().to_str().unwrap();
        let profile = if profile == "debug" { "dev" } else { profile };
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--locked", "--examples", "--profile", profile])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the examples do not build");
        directory.join("examples")
    });
    Command::new(directory.join(name))
}

/// Arguments of the example writer: two flow logs of four interfaces, one of which is silent.
pub(crate) const TWO_LOGS: [&str; 6] = ["--roots", "2", "--nics", "4", "--silent", "1"];

/// The example writer, asked for one minute at a time. It ends with the value.
#[derive(Debug)]
pub(crate) struct InteractiveWriter {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl InteractiveWriter {
    /// Starts `flow_log_writer --interactive` with further arguments.
    pub(crate) fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut child = example("flow_log_writer")
            .arg("--interactive")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, commands, answers }
    }

    /// Sends a command and returns the answer's line. By then all is committed and in the ledger.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Commits `minutes` more minutes, one after the other, and returns how many tuples there are in all.
    pub(crate) fn minutes(&mut self, minutes: u32) -> u64 {
        let answer = self.ask(&format!("minutes {minutes}"));
        let totals = answer.strip_prefix("done ").unwrap_or_else(|| panic!("the writer answered {answer:?}"));
        let tuples = totals.split(' ').find_map(|total| total.strip_prefix("tuples="));
        tuples.unwrap().parse().unwrap()
    }
}

impl Drop for InteractiveWriter {
    fn drop(&mut self) {
        // It may have ended by itself, and a test may be failing already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

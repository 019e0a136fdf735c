//! The gate for speed: how many instructions an event takes, counted by valgrind, so that the machine's load does not
//! matter.
//!
//! ```sh
//! cargo bench --bench instructions
//! ```
//!
//! Each case is counted with one pass and with several over the same document; what a pass more costs is the figure, so
//! that start and input cancel out. A figure that lies more than 3 % above `benches/instructions.baseline` fails. Who has a
//! reason for it, or has made it less, writes the baseline anew with `UPDATE_BASELINE=1` and commits it with the change.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "a tool for people that tells what it finds"
)]

mod support;

use std::{collections::BTreeMap, env, fmt::Write as _, fs, hint::black_box, path::Path, process::Command};

use support::{
    input::Input,
    product::{self, cases},
};

/// Small enough for valgrind, large enough for several bodies.
const DOCUMENT_BYTES: u64 = 2_000_000;

/// A figure may rise by so much.
const TOLERANCE_PERCENT: u64 = 3;

/// The goals of the project, instructions an event in the typical document.
const GOALS: [(&str, u64); 3] = [("flow", 900), ("batch", 1_100), ("ecs", 3_700)];

/// The child's second argument is how many passes it makes.
const FEW: u32 = 1;
const MANY: u32 = 3;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [case, passes] = arguments.as_slice() {
        return work(case, passes.parse().expect("the number of passes"));
    }
    let counted: BTreeMap<String, u64> =
        cases().iter().map(|case| (case.name.to_owned(), per_event(case.name))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.baseline");
    let baseline = read_baseline(&fs::read_to_string(&path).unwrap_or_default());
    let mut is_worse = false;
    println!("{:<10} {:>14} {:>10} {:>8}", "", "instructions", "baseline", "goal");
    for (name, count) in &counted {
        let before = baseline.get(name).copied();
        let goal = GOALS.iter().find(|(case, _)| case == name).map(|(_, goal)| *goal);
        let verdict = match before {
            Some(before) if *count * 100 > before * (100 + TOLERANCE_PERCENT) => {
                is_worse = true;
                "more than the baseline allows"
            }
            Some(before) if *count * (100 + TOLERANCE_PERCENT) < before * 100 => {
                "less: UPDATE_BASELINE=1 keeps it so"
            }
            Some(_) => "",
            None => {
                is_worse = true;
                "no baseline"
            }
        };
        let shown = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        println!("{name:<10} {count:>14} {:>10} {:>8} {verdict}", shown(before), shown(goal));
    }
    if env::var_os("UPDATE_BASELINE").is_some() {
        fs::write(&path, write_baseline(&counted)).expect("write the baseline");
    } else if is_worse {
        eprintln!("see benches/instructions.rs");
        std::process::exit(1);
    }
}

/// What valgrind runs.
fn work(name: &str, passes: u32) {
    let input = Input::typical(DOCUMENT_BYTES);
    let case = cases().into_iter().find(|case| case.name == name).expect("a known case");
    let mut n_events = 0;
    for _ in 0..passes {
        n_events += product::run(&input, &case, &mut |body| flowlogd::buffers::give_back(black_box(body)));
    }
    assert_eq!(n_events, input.n_tuples * u64::from(passes));
    println!("{n_events}");
}

/// Instructions an event.
fn per_event(name: &str) -> u64 {
    let (few_events, few) = count(name, FEW);
    let (many_events, many) = count(name, MANY);
    (many - few) / (many_events - few_events)
}

/// Events and instructions of one child.
fn count(name: &str, passes: u32) -> (u64, u64) {
    let program = env::current_exe().expect("this program's own path");
    let output = Command::new("valgrind")
        // A copy by one instruction would count once for each of its bytes.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1000000000")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([name, &passes.to_string()])
        .output()
        .expect("valgrind is needed: apt-get install valgrind");
    let (events, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let instructions = log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match (events.trim().parse(), instructions) {
        (Ok(events), Some(instructions)) if output.status.success() => (events, instructions),
        _ => {
            eprintln!("{log}");
            std::process::exit(1);
        }
    }
}

/// Lines of a name and a number; others are comments.
fn read_baseline(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn write_baseline(counted: &BTreeMap<String, u64>) -> String {
    let mut text = String::from("# Instructions an event, written by benches/instructions.rs.\n");
    for (name, count) in counted {
        // Writing into memory cannot fail.
        let _always_ok = writeln!(text, "{name} {count}");
    }
    text
}

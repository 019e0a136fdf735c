//! The floors: who may use whom.

use super::source::{Source, find_word, line_of, rust_files};

/// The modules of `src` and their floors. A module uses modules of lower floors, and itself.
const FLOORS: [(&str, u32); 20] = [
    ("buffers", 0),
    ("model", 0),
    ("planted", 0),
    ("retry", 0),
    ("telemetry", 1),
    ("flowlog", 1),
    ("event", 2),
    ("checkpoint", 2),
    ("batch", 3),
    ("http", 3),
    ("offload", 3),
    ("storage", 4),
    ("intake", 4),
    ("store", 4),
    ("admin", 4),
    ("pipeline", 5),
    ("settings", 6),
    ("app", 7),
    ("cli", 8),
    ("main", 9),
];

/// Modules that are given bytes, time and randomness, and touch nothing else.
const PURE: [&str; 6] = ["model", "retry", "flowlog", "event", "checkpoint", "batch"];

/// What a pure module must not name.
const IMPURE: [&str; 15] = [
    "tokio",
    "tokio_util",
    "futures_util",
    "tracing",
    "fastrand",
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "SystemTime::now",
    "Instant::now",
    "Utc::now",
    "Local::now",
];

/// The module that a file belongs to: `src/batch.rs` and `src/http/roots.rs` belong to `batch` and `http`.
fn module(path: &str) -> Option<&str> {
    let path = path.strip_prefix("src/")?;
    let module = path.split('/').next()?;
    Some(module.strip_suffix(".rs").unwrap_or(module))
}

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// Modules of the crate that a text names, with the places: of `crate::a::B` and of `use crate::{a::B, c}`.
fn used_modules(code: &str) -> Vec<(usize, &str)> {
    let mut used = Vec::new();
    let roots = ["crate::", "flowlogd::"]
        .into_iter()
        .flat_map(|root| find_word(code, root).map(move |offset| offset + root.len()));
    for start in roots {
        let rest = &code[start..];
        let Some(list) = rest.strip_prefix('{') else {
            used.push((start, name_at(rest)));
            continue;
        };
        let mut depth = 0;
        let mut expects_name = true;
        for (offset, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expects_name = true,
                _ if expects_name && !character.is_whitespace() => {
                    used.push((start + 1 + offset, name_at(&list[offset..])));
                    expects_name = false;
                }
                _ => {}
            }
        }
    }
    used
}

fn name_at(code: &str) -> &str {
    let end = code.find(|character: char| !character.is_alphanumeric() && character != '_');
    &code[..end.unwrap_or(code.len())]
}

fn floor_violations(file: &Source) -> Vec<String> {
    let Some(user) = module(&file.path).filter(|name| *name != "lib") else { return Vec::new() };
    let Some(own_floor) = floor(user) else {
        return vec![format!("{}:1: `{user}` has no floor: add it to FLOORS", file.path)];
    };
    let code = file.production();
    let climbing = find_word(code, "super::super").map(|offset| {
        let line = line_of(code, offset);
        format!("{}:{line}: `super::super` hides what is used: begin with `crate`", file.path)
    });
    let edges = used_modules(&file.code).into_iter().filter_map(|(offset, used)| {
        let allowed = used == user || floor(used).is_some_and(|floor| floor < own_floor);
        let line = line_of(&file.code, offset);
        (!allowed).then(|| {
            format!("{}:{line}: `{user}` must not use `{used}`: it is not on a lower floor", file.path)
        })
    });
    edges.chain(climbing).collect()
}

fn purity_violations(file: &Source) -> Vec<String> {
    if !module(&file.path).is_some_and(|module| PURE.contains(&module)) {
        return Vec::new();
    }
    let code = file.production();
    let impure = IMPURE.iter().flat_map(|word| find_word(code, word).map(move |offset| (offset, word)));
    impure
        .map(|(offset, word)| {
            let line = line_of(code, offset);
            format!("{}:{line}: a pure module must not name `{word}`: take it as an argument", file.path)
        })
        .collect()
}

/// Scenario: every file of `src` is read. Guarantees: no module uses one of its own floor or of a higher one, and the
/// pure ones touch no runtime, clock, randomness, file, environment or log.
#[test]
fn modules_keep_to_their_floors() {
    let files = rust_files(&["src"]);
    assert!(files.len() > 50, "only {} files were read", files.len());
    let violations: Vec<_> =
        files.iter().flat_map(|file| [floor_violations(file), purity_violations(file)].concat()).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// Scenario: small files that break a floor's rules or keep them. Guarantees: the breaches are found at their lines,
/// and nothing else is.
#[test]
fn breaches_of_floors_are_found() {
    let check = |path: &str, text: &str, lines: &[usize]| {
        let file = Source::new(path, text);
        let found = [floor_violations(&file), purity_violations(&file)].concat();
        let expected: Vec<_> = lines.iter().map(|line| format!("{path}:{line}: ")).collect();
        assert_eq!(found.len(), lines.len(), "{text}: {found:?}");
        assert!(
            found.iter().zip(&expected).all(|(found, start)| found.starts_with(start)),
            "{text}: {found:?}"
        );
    };
    check(
        "src/event/mod.rs",
        "use crate::{\n    flowlog::{Record, tuple::{A, B}},\n    model::Span,\n};",
        &[],
    );
    check("src/event/mod.rs", "use crate::{\n    flowlog::Record,\n    store::{self, checkpoint},\n};", &[3]);
    check("src/event/mod.rs", "\nuse crate::checkpoint::Position;", &[2]);
    check("src/event/flow.rs", "// crate::store\nuse crate::event::Encoder;", &[]);
    check("src/event/flow.rs", "fn f() { crate::cli::execute() }", &[1]);
    check("src/event/flow.rs", "use super::super::store;", &[1]);
    check("src/main.rs", "use flowlogd::{cli, telemetry};", &[]);
    check("src/new.rs", "", &[1]);
    check("src/batch.rs", "let now = Instant::now();\n#[cfg(test)]\nlet now = Instant::now();", &[1]);
    check("src/batch.rs", "/// Instant::now\nlet text = \"tokio\";", &[]);
    check("src/http/mod.rs", "tokio::spawn(x)", &[]);
}

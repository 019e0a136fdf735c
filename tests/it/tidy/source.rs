//! The project's files as the rules see them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that are not the project's own text.
const FOREIGN: [&str; 5] = [".git", ".venv", "node_modules", "target", "__pycache__"];

/// A Rust file.
pub(super) struct Source {
    /// From the project's root, with `/`.
    pub(super) path: String,
    /// As it stands.
    pub(super) text: String,
    /// The same without what comments and literals say: spaces stand in their place, lines stay where they are.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank_comments_and_literals(text) }
    }

    /// The code before the unit tests, which stand at the end.
    pub(super) fn production(&self) -> &str {
        self.code.find("#[cfg(test)]").map_or(self.code.as_str(), |tests| &self.code[..tests])
    }

    /// Whether the file is in one of these folders, or is one of these files.
    pub(super) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }
}

/// Every Rust file below these folders of the project.
pub(super) fn rust_files(folders: &[&str]) -> Vec<Source> {
    let files = folders.iter().flat_map(|folder| text_files(folder));
    files.filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| Source::new(&path, &text)).collect()
}

/// Every text file below a folder of the project, sorted by path.
pub(super) fn text_files(folder: &str) -> Vec<(String, String)> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut folders) = (Vec::new(), vec![project.join(folder)]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && !FOREIGN.contains(&entry.file_name().to_str().unwrap()) {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                files.push((relative(project, &entry.path()), text));
            }
        }
    }
    files.sort_unstable();
    files
}

fn relative(project: &Path, path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(project).unwrap().components().collect();
    path.to_str().unwrap().to_owned()
}

/// The line of a place in a text, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Places in `code` where `word` stands and is not a part of a longer name.
pub(super) fn find_word<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).map(|(offset, _)| offset).filter(move |offset| {
        let (before, after) = (&code[..*offset], &code[offset + word.len()..]);
        let starts = !word.starts_with(is_name) || !before.ends_with(is_name);
        // A word that ends in `_` names everything that begins with it.
        let ends = word.ends_with('_') || !word.ends_with(is_name) || !after.starts_with(is_name);
        starts && ends
    })
}

fn blank_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = foreign_length(rest).unwrap_or(0);
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            // A name is taken whole, so that the r of `for"` opens no raw string.
            if first.is_alphanumeric() || first == '_' {
                let end =
                    rest.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(rest.len());
                code.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            continue;
        }
        let (foreign, later) = rest.split_at(length);
        code.extend(foreign.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        rest = later;
    }
    code
}

/// Length of the comment or literal that `text` begins with.
fn foreign_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(text.find("*/").map_or(text.len(), |end| end + 2));
    }
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    });
    if let Some(prefix) = prefix {
        let body = &text[prefix.len()..];
        let hashes = body.len() - body.trim_start_matches('#').len();
        if prefix.ends_with('r') {
            let opening = prefix.len() + hashes + 1;
            let closing = format!("\"{}", &body[..hashes]);
            return Some(
                text[opening..].find(&closing).map_or(text.len(), |end| opening + end + closing.len()),
            );
        }
        if hashes == 0 {
            return Some(prefix.len() + quoted_length(body, '"'));
        }
    }
    let quote = text.strip_prefix('b').unwrap_or(text);
    let mut characters = quote.chars();
    let is_character = characters.next() == Some('\'')
        && match (characters.next(), characters.next()) {
            (Some('\\'), _) => true,
            // Else it is a lifetime.
            (_, Some(third)) => third == '\'',
            _ => false,
        };
    is_character.then(|| text.len() - quote.len() + quoted_length(quote, '\''))
}

/// Length of a literal with escapes, both quotes included.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (offset, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// Scenario: code with every kind of comment and literal. Guarantees: only code is left, on its own lines.
#[test]
fn comments_and_literals_are_blanked() {
    let check = |text: &str, expected: &str| {
        let code = blank_comments_and_literals(text);
        assert_eq!(code.chars().count(), text.chars().count(), "{text:?}");
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text:?}");
    };
    check("a // b\nc", "a c");
    check("a /* b\n */ c", "a c");
    check(r#"a("b\"c", d)"#, "a( , d)");
    check(r##"a(r#"b"c"#, br"d\", b"e", c"f") g"##, "a( , , , ) g");
    check(r"match x { 'a' | '\'' | '\u{41}' | b'b' => 'c: loop {} }", "match x { | | | => 'c: loop {} }");
    check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
    check("for r in b", "for r in b");
    assert_eq!(line_of("a\nb\nc", 4), 3);
    assert_eq!(find_word("use spawn; respawn(); spawn_it", "spawn").collect::<Vec<_>>(), [4]);
    assert_eq!(find_word("azure_core::x", "azure_").count(), 1);
}

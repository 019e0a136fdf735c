//! An error and its causes on one line.

use std::{error::Error, fmt};

/// Shows an error and its causes as `a: b: c`. A cause that the text before it already ends with is left out: some
/// libraries repeat their source in their own message.
pub fn chain(error: &dyn Error) -> impl fmt::Display + '_ {
    Chain(error)
}

struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        f.write_str(&shown)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !shown.ends_with(&text) {
                write!(f, ": {text}")?;
                shown = text;
            }
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Link {
        text: &'static str,
        cause: Option<Box<Link>>,
    }

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.text)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.cause.as_deref().map(|cause| {
                let cause: &(dyn Error + 'static) = cause;
                cause
            })
        }
    }

    fn check(texts: &[&'static str], expected: &str) {
        let error = texts.iter().rev().fold(None, |cause, text| Some(Box::new(Link { text, cause })));
        assert_eq!(chain(error.unwrap().as_ref()).to_string(), expected);
    }

    /// *Scenario*: errors with and without causes, some of which repeat their cause. *Guarantees*: every layer is
    /// shown once, outermost first.
    #[test]
    fn every_layer_once() {
        check(&["a"], "a");
        check(&["a", "b", "c"], "a: b: c");
        check(&["read blob: refused", "refused"], "read blob: refused");
        check(&["a: b: c", "b: c", "c"], "a: b: c");
        check(&["a", "a", "b"], "a: b");
    }
}

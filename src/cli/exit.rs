//! Exit codes, as the contract with users fixes them (the sysexits numbers where there is one).

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or asked to stop.
    Success,
    /// Cannot start.
    CannotStart,
    /// Some input was quarantined.
    DataError,
    /// No such file.
    NoInput,
    /// A source or an intake was still blocked at the deadline.
    Unavailable,
    /// Storing the state or writing the results failed.
    InputOutput,
    /// Another instance holds the state.
    Locked,
    /// Wrong settings, or state of a newer version.
    Configuration,
    /// A second signal, by its number, ended the program while it was stopping.
    Signal(i32),
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::CannotStart => 1,
            Self::DataError => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::InputOutput => 74,
            Self::Locked => 75,
            Self::Configuration => 78,
            Self::Signal(number) => u8::try_from(number).unwrap_or_default().saturating_add(128),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that ends the program, with the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What went wrong; its chain is printed once, by `main`.
    pub error: anyhow::Error,
}

impl Failure {
    /// Joins an error and the code that it ends with.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }
}

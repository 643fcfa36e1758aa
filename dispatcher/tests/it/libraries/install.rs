//! The libraries of other languages, in the versions that stand beside the receivers, installed once into the
//! workspace's `target/receivers`. What is finished there is used as it is, without the network.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A language whose receiver is a program.
#[derive(Debug, Clone, Copy)]
pub(super) enum Language {
    Python,
    JavaScript,
}

/// A language with its library, ready to run its receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Installed {
    language: Language,
    directory: &'static Path,
}

/// What is not on this machine.
#[derive(Debug, Clone, Copy)]
struct Missing(&'static str);

impl Language {
    const fn name(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
        }
    }

    /// Installs the library unless it is there. `None` if the language is missing; then it says so on standard error,
    /// past the test harness.
    ///
    /// # Panics
    ///
    /// If the library can't be installed; and if the language is missing where `CI` is `true`, as nothing is to be
    /// skipped there.
    pub(super) fn installed_for(self, test: &str) -> Option<Installed> {
        static PYTHON: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
        static JAVA_SCRIPT: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
        let place = match self {
            Self::Python => &PYTHON,
            Self::JavaScript => &JAVA_SCRIPT,
        };
        match place.get_or_init(|| self.look().map(|()| self.install_once())) {
            Ok(directory) => Some(Installed { language: self, directory }),
            Err(Missing(what)) if std::env::var_os("CI").is_none_or(|ci| ci != "true") => {
                // Nobody is left to tell if standard error is closed.
                let line = format!("skipped {test} in {}: {what} is missing\n", self.name());
                let _ = io::stderr().write_all(line.as_bytes());
                None
            }
            Err(Missing(what)) => panic!("failed to run {test} in {}: {what} is missing", self.name()),
        }
    }

    /// Whether this machine has what installs and runs it.
    fn look(self) -> Result<(), Missing> {
        let answers = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
        };
        match self {
            // Debian has the interpreter without the module.
            Self::Python if !answers("python3", &["-c", "import ensurepip, venv"]) => {
                Err(Missing("python3 with venv"))
            }
            Self::JavaScript if !answers("node", &["--version"]) => Err(Missing("node")),
            Self::JavaScript if !answers("npm", &["--version"]) => Err(Missing("npm")),
            Self::Python | Self::JavaScript => Ok(()),
        }
    }

    /// The directory where its library is. Whoever comes second waits for the first.
    fn install_once(self) -> PathBuf {
        let home = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/receivers"));
        fs::create_dir_all(home).expect("a directory");
        let home = home.canonicalize().expect("a directory");
        let lock = File::create(home.join(format!("{}.lock", self.name()))).expect("a file");
        lock.lock().expect("a lock");
        let (directory, versions) = (home.join(self.name()), fs::read(self.versions()).expect("versions"));
        let finished = directory.join("finished");
        if fs::read(&finished).ok().as_ref() != Some(&versions) || !self.runs_in(&directory) {
            // Older versions, or what a test left that was killed.
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(&directory).expect("a directory");
            self.install(&directory);
            fs::write(finished, versions).expect("a file");
        }
        directory
    }

    /// Whether what was installed is still of use: the interpreter that made an environment may be gone.
    fn runs_in(self, directory: &Path) -> bool {
        match self {
            Self::Python => directory.join("bin/python").exists(),
            Self::JavaScript => true,
        }
    }

    fn install(self, directory: &Path) {
        match self {
            Self::Python => {
                run(Command::new("python3").args(["-m", "venv"]).arg(directory));
                let mut pip = Command::new(directory.join("bin/python"));
                pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--requirement"]);
                run(pip.arg(self.versions()));
            }
            Self::JavaScript => {
                fs::copy(self.versions(), directory.join("package.json")).expect("a copy");
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]);
                run(npm.arg("--prefix").arg(directory));
            }
        }
    }

    /// Where the receiver and the versions stand.
    fn source(self) -> PathBuf {
        let receivers = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/receivers"));
        receivers.join(self.name().to_ascii_lowercase())
    }

    fn versions(self) -> PathBuf {
        self.source().join(match self {
            Self::Python => "requirements.txt",
            Self::JavaScript => "package.json",
        })
    }
}

impl Installed {
    pub(super) const fn language(self) -> &'static str {
        self.language.name()
    }

    /// The command that starts the receiver.
    pub(super) fn command(self) -> tokio::process::Command {
        let source = self.language.source();
        match self.language {
            Language::Python => {
                let mut command = tokio::process::Command::new(self.directory.join("bin/python"));
                command.arg(source.join("receiver.py"));
                command
            }
            Language::JavaScript => {
                let mut command = tokio::process::Command::new("node");
                command.arg(source.join("receiver.js")).env("NODE_PATH", self.directory.join("node_modules"));
                command
            }
        }
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

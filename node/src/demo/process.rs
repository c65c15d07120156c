//! Running `basoche` as anybody would: its public commands, its processes.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::DemoError;

/// How long any awaited state may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs commands in one directory, tells them, and notes them for replay.
pub(super) struct Runner {
    directory: PathBuf,
    program: PathBuf,
    notes: RefCell<File>,
}

impl Runner {
    pub(super) fn new(directory: &Path) -> Result<Self, DemoError> {
        let program = std::env::current_exe().map_err(|error| DemoError::new("this program", error))?;
        let path = directory.join("commands.sh");
        let notes = File::create(&path).map_err(|error| DemoError::new(path.display(), error))?;
        let runner = Self {
            directory: directory.to_owned(),
            program,
            notes: RefCell::new(notes),
        };
        runner.note(&format!("cd {}", quote(&directory.display().to_string())));
        runner.note(&format!(
            "basoche() {{ {} \"$@\"; }}",
            quote(&runner.program.display().to_string())
        ));
        Ok(runner)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn note(&self, line: &str) {
        // The notes are for the reader's comfort.
        let _ = writeln!(self.notes.borrow_mut(), "{line}");
    }

    /// Says something, on stderr.
    pub(super) fn tell(&self, words: &str) {
        let _ = writeln!(std::io::stderr(), "{words}");
    }

    /// Announces a step.
    pub(super) fn step(&self, words: &str) {
        self.note(&format!("# {words}"));
        self.tell(&format!("\n— {words}"));
    }

    /// Shows a command that is about to run.
    pub(super) fn show(&self, arguments: &[&str]) {
        let line = arguments
            .iter()
            .map(|argument| quote(argument))
            .collect::<Vec<_>>()
            .join(" ");
        self.note(&format!("basoche {line}"));
        self.tell(&format!("  $ basoche {line}"));
    }

    /// Runs a command that must succeed; gives its answer.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Value, DemoError> {
        self.show(arguments);
        let (code, answer) = self.run(arguments)?;
        if code == 0 {
            Ok(answer)
        } else {
            Err(failed(arguments, code, &answer))
        }
    }

    /// Runs a command that must be refused; gives its error.
    pub(super) fn refused(&self, arguments: &[&str]) -> Result<Value, DemoError> {
        self.show(arguments);
        match self.run(arguments)? {
            (77, answer) => {
                self.tell(&format!(
                    "    refusé : {}",
                    answer["error"]["message"].as_str().unwrap_or("?")
                ));
                Ok(answer)
            }
            (code, answer) => Err(failed(arguments, code, &answer)),
        }
    }

    /// Runs a command again and again until its answer satisfies `enough`.
    pub(super) fn until(
        &self,
        arguments: &[&str],
        what: &str,
        enough: impl Fn(&Value) -> bool,
    ) -> Result<(), DemoError> {
        let started = Instant::now();
        loop {
            let (code, answer) = self.run(arguments)?;
            if code == 0 && enough(&answer) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(DemoError::new(
                    what,
                    format!("not within {} s: {answer}", PATIENCE.as_secs()),
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn run(&self, arguments: &[&str]) -> Result<(i32, Value), DemoError> {
        let done = Command::new(&self.program)
            .args(arguments)
            .arg("--json")
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| DemoError::new(arguments.join(" "), error))?;
        let stdout = String::from_utf8_lossy(&done.stdout);
        let last = stdout.lines().last().unwrap_or_default();
        let answer = serde_json::from_str(last).unwrap_or(Value::Null);
        Ok((done.status.code().unwrap_or(-1), answer))
    }
}

fn failed(arguments: &[&str], code: i32, answer: &Value) -> DemoError {
    DemoError::new(
        format!("basoche {}", arguments.join(" ")),
        format!("exit code {code}: {answer}"),
    )
}

/// Quotes an argument for a shell, where it needs it.
fn quote(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:+,@".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// A node process.
pub(super) struct Node {
    name: &'static str,
    child: Option<Child>,
}

impl Node {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, child: None }
    }

    /// Starts `basoche node run`, and waits until it answers.
    pub(super) fn start(&mut self, runner: &Runner) -> Result<(), DemoError> {
        let config = format!("{}/node.toml", self.name);
        runner.show(&["node", "run", "--config", &config, "&"]);
        let log = runner.path(self.name).join("node.log");
        let fail = |error: std::io::Error| DemoError::new(format!("node {}", self.name), error);
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(fail)?;
        let child = Command::new(&runner.program)
            .args(["node", "run", "--config", &config])
            .current_dir(&runner.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(fail)?;
        self.child = Some(child);
        let started = Instant::now();
        loop {
            if runner.run(&["node", "status", "--config", &config])?.1["node"].is_string() {
                return Ok(());
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || started.elapsed() > PATIENCE {
                let log =
                    std::fs::read_to_string(runner.path(self.name).join("node.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("nothing in its log").to_owned();
                return Err(DemoError::new(
                    format!("node {} does not answer", self.name),
                    last,
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub(super) fn kill(&mut self, runner: &Runner) -> Result<(), DemoError> {
        if let Some(mut child) = self.child.take() {
            runner.tell(&format!("  $ kill -KILL {}   # {}", child.id(), self.name));
            child
                .kill()
                .and_then(|()| child.wait().map(drop))
                .map_err(|error| DemoError::new(self.name, error))?;
        }
        Ok(())
    }

    /// SIGTERM: drains, and must end well.
    pub(super) fn stop(&mut self) -> Result<(), DemoError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let fail = |why: String| DemoError::new(format!("stopping {}", self.name), why);
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| fail("no process id".into()))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| fail(error.to_string()))?;
        let status = child.wait().map_err(|error| fail(error.to_string()))?;
        if status.success() {
            Ok(())
        } else {
            Err(fail(format!("it ended with {status}")))
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // The demonstration failed: no process of it may stay.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

//! What goes to stdout and stderr: the answer is the last line of stdout, everything else goes to stderr.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::Fault;

/// How answers are printed.
pub struct Output {
    json: bool,
}

impl Output {
    /// As JSON or as text.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether answers are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the answer: the JSON value, or the text.
    pub fn answer(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let line = if self.json {
            serde_json::to_string(value).unwrap_or_default()
        } else {
            text()
        };
        print(&line);
    }

    /// Tells how it goes, on stderr.
    pub fn note(&self, text: &str) {
        let mut stderr = std::io::stderr().lock();
        // Nobody is there to be told that stderr is closed.
        let _ = writeln!(stderr, "{text}");
    }

    /// Prints an error, and gives its exit code.
    pub fn fault(&self, fault: &Fault) -> ExitCode {
        if self.json {
            let error = json!({
                "code": fault.code, "message": fault.message, "where": fault.place,
                "action": fault.action, "retry": fault.retry,
            });
            print(&json!({ "v": 1, "error": error }).to_string());
        } else {
            self.note(&format!("error: {}", fault.message));
            if !fault.action.is_empty() {
                self.note(&format!("  {}", fault.action));
            }
        }
        ExitCode::from(fault.exit)
    }

    /// A bar on stderr that counts bytes; invisible when stderr is no terminal.
    pub fn bytes(&self, what: &str, total: u64) -> ProgressBar {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what.to_owned());
        bar
    }
}

fn print(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // A closed pipe is the reader's decision.
    let _ = writeln!(stdout, "{line}");
}

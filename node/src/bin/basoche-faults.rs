//! The program `basoche` with planted faults: only the harnesses' negative controls run it.

use std::process::ExitCode;

fn main() -> ExitCode {
    basoche_node::cli::main()
}

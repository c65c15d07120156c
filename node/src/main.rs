//! The program `basoche`.

use std::process::ExitCode;

fn main() -> ExitCode {
    basoche_node::cli::main()
}

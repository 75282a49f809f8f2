//! A program without tasks, to test what the command line prints in that case.

fn main() -> std::process::ExitCode {
    ork::main()
}

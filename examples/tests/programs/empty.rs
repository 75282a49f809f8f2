//! A program without tasks: what the command line says then is tested with it.

fn main() -> std::process::ExitCode {
    ork::main()
}

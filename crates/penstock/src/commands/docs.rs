//! `penstock completions` and `penstock man`, both made from the definitions of the arguments.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::failure::Failure;
use crate::text::Screen;

pub(super) fn completions(shell: Shell, screen: &mut Screen) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "penstock", &mut script);
    Ok(screen.write_all(&script)?)
}

pub(super) fn man(dir: Option<&Path>, screen: &mut Screen) -> Result<(), Failure> {
    match dir {
        None => Ok(Man::new(Cli::command()).render(screen)?),
        Some(dir) => clap_mangen::generate_to(Cli::command(), dir)
            .map_err(|error| Failure::file(dir, "written to", &error)),
    }
}

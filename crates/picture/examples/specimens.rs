//! Draws pools of all kinds into a directory, to look at: whoever changes a picture sees what came of it.
//!
//!     cargo run -p pinfold-picture --example specimens -- DIRECTORY

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use pinfold_picture::{Look, svg, text};

#[path = "../tests/common/specimens.rs"]
mod specimens;

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("say into which directory");
        return ExitCode::from(2);
    };
    let drawn = fs::create_dir_all(&directory).and_then(|()| {
        specimens::all().into_iter().try_for_each(|(name, chart)| {
            fs::write(directory.join(format!("{name}.svg")), svg(&chart))?;
            fs::write(directory.join(format!("{name}.txt")), text(&chart, Look { columns: 80, coloured: false }))?;
            fs::write(directory.join(format!("{name}.ansi")), text(&chart, Look { columns: 110, coloured: true }))
        })
    });
    match drawn {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write into {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

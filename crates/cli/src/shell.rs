//! `pinfold completions` and `pinfold man`: what a shell and a reader of manuals need, made from the command line itself.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man as Page;

use crate::cli::{Cli, EXAMPLES, SIZES};
use crate::names::shown;
use crate::out::write;
use crate::status::{self, CannotRun, Status};

/// Writes what a shell needs to complete this command's arguments.
///
/// For bash: `pinfold completions bash > ~/.local/share/bash-completion/completions/pinfold`.
/// For zsh: `pinfold completions zsh > DIR/_pinfold`, with DIR in `fpath`.
/// For fish: `pinfold completions fish > ~/.config/fish/completions/pinfold.fish`.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Completions {
    /// Which shell.
    pub(crate) shell: Shell,
}

/// Writes the manual: a page for each command.
///
/// `pinfold man | man -l -` reads the first page, `pinfold man ls | man -l -` that of a command.
#[derive(Args, Debug)]
#[command(after_help = status::HELP)]
pub(crate) struct Man {
    /// The page of this command, in place of the first page.
    #[arg(value_parser = page_name)]
    pub(crate) command: Option<String>,
    /// Writes all pages into this directory, as `pinfold.1`, `pinfold-ls.1` and so on.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, conflicts_with = "command")]
    pub(crate) dir: Option<PathBuf>,
}

/// A command that has a page.
fn page_name(text: &str) -> Result<String, String> {
    let pages = pages();
    let known: Vec<&str> = pages.iter().filter_map(|page| page.get_name().strip_prefix("pinfold-")).collect();
    match known.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("there are pages for {}", known.join(", "))),
    }
}

pub(crate) fn completions(asked: &Completions) -> Result<Status, CannotRun> {
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut Cli::command(), "pinfold", &mut script);
    write(&script)?;
    Ok(Status::Held)
}

pub(crate) fn man(asked: &Man) -> Result<Status, CannotRun> {
    let pages = pages();
    match &asked.dir {
        Some(dir) => write_all(&pages, dir)?,
        None => {
            let name = asked.command.as_ref().map_or("pinfold".to_owned(), |command| format!("pinfold-{command}"));
            let page = pages.into_iter().find(|page| page.get_name() == name);
            write(&rendered(page.unwrap_or_else(Cli::command))?)?;
        }
    }
    Ok(Status::Held)
}

fn write_all(pages: &[Command], dir: &Path) -> Result<(), CannotRun> {
    let said = |path: &Path, error: std::io::Error| CannotRun(format!("{}: {error}", shown(path)));
    fs::create_dir_all(dir).map_err(|error| said(dir, error))?;
    for page in pages {
        let path = dir.join(format!("{}.1", page.get_name()));
        fs::write(&path, rendered(page.clone())?).map_err(|error| said(&path, error))?;
    }
    Ok(())
}

/// The command and each that is not hidden, under the names of their pages.
fn pages() -> Vec<Command> {
    let mut root = Cli::command().disable_help_subcommand(true);
    // Puts in what all commands have in common.
    root.build();
    let version = env!("CARGO_PKG_VERSION");
    let page = |command: &Command| {
        let name: &'static str = format!("pinfold-{}", command.get_name()).leak();
        command.clone().name(name).display_name(name).version(version)
    };
    let of_commands: Vec<Command> = root.get_subcommands().filter(|command| !command.is_hide_set()).map(page).collect();
    std::iter::once(root).chain(of_commands).collect()
}

fn rendered(page: Command) -> Result<Vec<u8>, CannotRun> {
    let is_first = page.has_subcommands();
    let help = page.get_after_help().map_or_else(|| status::HELP.to_owned(), ToString::to_string);
    let usage = page.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    let page = Page::new(page.override_usage(usage)).manual("pinfold");
    let mut roff = Vec::new();
    page.render_title(&mut roff)?;
    page.render_name_section(&mut roff)?;
    page.render_synopsis_section(&mut roff)?;
    page.render_description_section(&mut roff)?;
    page.render_options_section(&mut roff)?;
    if is_first {
        page.render_subcommands_section(&mut roff)?;
        roff.extend(section("SIZES", [(SIZES, "")]).into_bytes());
        roff.extend(section("EXAMPLES", EXAMPLES).into_bytes());
    }
    roff.extend(section("EXIT STATUS", exit_statuses(&help)).into_bytes());
    Ok(roff)
}

/// What the help says of exit statuses, one by one.
fn exit_statuses(help: &str) -> impl Iterator<Item = (&str, &str)> {
    help.lines().skip(1).filter_map(|line| line.trim_start().split_once("  "))
}

/// A section of terms and what is said of each.
fn section<'a>(title: &str, of: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let escaped = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let mut roff = format!(".SH \"{title}\"\n");
    for (term, said) in of {
        match said.is_empty() {
            true => roff.push_str(&format!("{}\n", escaped(term))),
            false => roff.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", escaped(term), escaped(said))),
        }
    }
    roff
}

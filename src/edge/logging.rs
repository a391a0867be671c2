//! Log messages, to stderr.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::cli::{Cli, LogFormat};

/// Starts logging as the command line wants it. Called once.
pub fn start(cli: &Cli) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(cli.log.as_deref().unwrap_or_else(|| directive(cli)))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Text => builder.with_ansi(false).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

fn directive(cli: &Cli) -> &'static str {
    match (cli.quiet, cli.verbose) {
        (0, 0) => "info",
        (0, 1) => "muster=debug,info",
        (0, _) => "muster=trace,debug",
        (1, _) => "warn",
        _ => "error",
    }
}

//! `muster connect`, as stock Nix starts it.

use std::path::{Path, PathBuf};

use super::{Failure, block_on};
use crate::cli::ConnectArgs;
use crate::config::{DEFAULT_ENDPOINT, Environment, NOTICE};
use crate::connect::{self, Settings};
use crate::edge::stdio::Pollable;
use crate::edge::{ancestry, files};
use crate::nix::machines::LineRef;
use crate::wire::notice::Notice;

pub(super) fn run(args: &ConnectArgs, environment: &Environment) -> Result<(), Failure> {
    let socket = socket(args, environment)?;
    let notice = files::read_bounded(&socket.with_file_name(NOTICE)).map(|text| Notice::parse(&text));
    let settings = Settings {
        socket,
        line: args.line.clone(),
        notice: notice.unwrap_or_default(),
        ancestry: ancestry::ancestry(),
    };
    block_on(async {
        let streams = Pollable::stdin().and_then(|from| Ok((from, Pollable::stdout()?)));
        let (from, to) = streams.map_err(|error| {
            Failure::Usage(anyhow::anyhow!(
                "connect speaks Nix's worker protocol over pipes and is started by Nix itself ({error})"
            ))
        })?;
        match connect::run(settings, from, to).await {
            // The client is gone, and that is how it cancels.
            Ok(()) | Err(connect::SessionError::Closed) => Ok(()),
            Err(error) => Err(Failure::Failed(error.into())),
        }
    })
}

/// The one named by `--socket`, else by the line, else the usual one.
fn socket(args: &ConnectArgs, environment: &Environment) -> Result<PathBuf, Failure> {
    if let Some(socket) = &args.socket {
        return Ok(environment.cwd.join(socket));
    }
    let line = args.line.as_deref().map(LineRef::parse).transpose();
    match line.map_err(|error| Failure::Usage(error.into()))? {
        Some(LineRef::Line { socket: Some(socket), .. } | LineRef::Use { socket: Some(socket), .. }) => {
            Ok(Path::new(&socket).to_owned())
        }
        _ => Ok(DEFAULT_ENDPOINT.into()),
    }
}

//! `gate runtime`: makes containers for others.

use crate::exit::{Problem, Status};
use crate::output;
use crate::runtime::block_on;
use crate::signals::Signals;
use anyhow::anyhow;
use clap::{Args, ValueHint};
use gate_runtime::{
    Access, Binaries, CgroupConfig, ContainerCgroup, ContainerConfig, ContainerIds, DAEMON_SOCKET, Daemon,
    DaemonConfig, DaemonStatus, SystemdScope,
};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  Make containers for the members of a group:
    gate runtime --allow-group gate --mode 0666

  Account for them in control groups, where limits can be set:
    gate runtime --cgroup /gate/executor --program-cgroup /gate/programs

  Look at a daemon which is running:
    gate runtime --status";

/// Make containers for other processes
///
/// Listens on a Unix socket, and makes a container for each connection. So servers that run programs need no privileges, and
/// the programs get ids that nobody else has. The socket can be handed over by a service manager (LISTEN_FDS). Privileges
/// which this does not take are given up.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct RuntimeArgs {
    /// Where to listen
    #[arg(long, value_name = "PATH", default_value = DAEMON_SOCKET, value_hint = ValueHint::FilePath)]
    socket: PathBuf,

    /// Print how the daemon is which listens there, and exit
    #[arg(long)]
    status: bool,

    /// Permissions of the socket, as an octal number
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = parse_mode)]
    mode: u32,

    /// Serve this user, besides root and the daemon's own. Can be given several times
    #[arg(long, value_name = "USER", value_parser = parse_user)]
    allow_user: Vec<u32>,

    /// Serve members of this group. Can be given several times
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    allow_group: Vec<u32>,

    /// Serve everybody who can connect
    #[arg(long)]
    allow_everybody: bool,

    /// How many containers there may be at once
    #[arg(long, value_name = "N", default_value_t = DaemonConfig::default().max_containers)]
    max_containers: usize,

    /// How many containers there may be at once of one user
    #[arg(long, value_name = "N", default_value_t = DaemonConfig::default().max_containers_per_user)]
    max_containers_per_user: usize,

    /// As whom programs run: auto, own (as the daemon does), subordinate (ids from /etc/subuid and /etc/subgid), or two pairs
    /// of user and group ids, for setting containers up and for the programs
    #[arg(long, value_name = "auto|own|subordinate|UID:GID,UID:GID", default_value = "auto", value_parser = parse_ids)]
    ids: ContainerIds,

    /// Put executors into this control group
    #[arg(long, value_name = "PATH", conflicts_with = "systemd_slice")]
    cgroup: Option<PathBuf>,

    /// Put each container into a systemd scope of its own, in this slice
    #[arg(long, value_name = "SLICE")]
    systemd_slice: Option<String>,

    /// Put programs into this control group, unless the client says something else
    #[arg(long, value_name = "PATH")]
    program_cgroup: Option<PathBuf>,

    /// Execute the sandbox's programs from this directory, instead of from memory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    binaries: Option<PathBuf>,

    /// Write the sandbox's programs to this directory, and exit
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "status")]
    install_binaries: Option<PathBuf>,

    /// Make containers without namespaces: DANGEROUS, programs are kept from this system by the compiler and a system
    /// call filter only
    #[arg(long)]
    no_namespaces: bool,
}

/// Does what the command line says.
pub(crate) fn run(args: RuntimeArgs) -> Result<Status, Problem> {
    if let Some(dir) = &args.install_binaries {
        gate_runtime::install_binaries(dir)
            .map_err(|error| Problem::gate_failed(error).about(dir.display()))?;
        return Ok(Status::Success);
    }
    if args.status {
        return block_on(async {
            let status = DaemonStatus::query(&args.socket).await.map_err(Problem::gate_failed)?;
            output::print(describe(&status).as_bytes())
        });
    }
    let config = args.config();
    // There are no other threads yet.
    config.drop_privileges().map_err(Problem::gate_failed)?;
    block_on(async {
        let mut signals = Signals::new()?;
        let daemon = match Daemon::activated(&config).map_err(Problem::gate_failed)? {
            Some(daemon) => daemon,
            None => Daemon::bind(&args.socket, args.mode, &config).map_err(Problem::gate_failed)?,
        };
        daemon
            .serve(async {
                signals.next().await;
            })
            .await;
        Ok(Status::Success)
    })
}

impl RuntimeArgs {
    fn config(&self) -> DaemonConfig {
        let container = match (&self.cgroup, &self.systemd_slice) {
            (Some(path), _) => ContainerCgroup::Path(path.clone()),
            (None, Some(slice)) => {
                ContainerCgroup::SystemdScope(SystemdScope { slice: Some(slice.clone()), user: false })
            }
            (None, None) => ContainerCgroup::Inherit,
        };
        DaemonConfig {
            container: ContainerConfig {
                namespaces: !self.no_namespaces,
                ids: self.ids,
                cgroup: CgroupConfig { container, process: self.program_cgroup.clone() },
                binaries: self.binaries.clone().map_or(Binaries::Embedded, Binaries::Directory),
            },
            access: Access {
                users: self.allow_user.iter().copied().collect(),
                groups: self.allow_group.iter().copied().collect(),
                everybody: self.allow_everybody,
            },
            max_containers: self.max_containers,
            max_containers_per_user: self.max_containers_per_user,
        }
    }
}

fn describe(status: &DaemonStatus) -> String {
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime.as_secs()));
    format!(
        "version     {}\nprocess     {}\nuptime      {uptime}\ncontainers  {} (of at most {})\nmade        {}\nfailed      \
         {}\nrefused     {}\n",
        status.version,
        status.pid,
        status.containers,
        status.max_containers,
        status.made,
        status.failed,
        status.refused
    )
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(|| "not an octal mode".into())
}

fn parse_user(text: &str) -> Result<u32, String> {
    parse_name(text, "/etc/passwd")
}

fn parse_group(text: &str) -> Result<u32, String> {
    parse_name(text, "/etc/group")
}

/// A number, or the name of one in a file like the password file.
fn parse_name(text: &str, file: &str) -> Result<u32, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let entries = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let found = entries.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == text).then(|| fields.nth(1)?.parse().ok())?
    });
    found.ok_or_else(|| format!("not in {file} (others can be given by number)"))
}

fn parse_ids(text: &str) -> Result<ContainerIds, String> {
    let pair = |text: &str| {
        let (uid, gid) = text.split_once(':')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    };
    let pairs = || {
        let (setup, programs) = text.split_once(',')?;
        Some(ContainerIds::Two { setup: pair(setup)?, programs: pair(programs)? })
    };
    match text {
        "auto" => Ok(ContainerIds::Auto),
        "own" => Ok(ContainerIds::Own),
        "subordinate" => Ok(ContainerIds::Subordinate),
        _ => pairs().ok_or_else(|| anyhow!("neither a word nor UID:GID,UID:GID").to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_words_or_numbers() {
        assert_eq!(parse_ids("own"), Ok(ContainerIds::Own));
        let two = ContainerIds::Two { setup: (1, 2), programs: (3, 4) };
        assert_eq!(parse_ids("1:2,3:4"), Ok(two));
        for text in ["", "1:2", "1,2", "1:2,3:x", "1:2,3:4,5:6"] {
            assert!(parse_ids(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_looked_up() {
        assert_eq!(parse_user("root"), Ok(0));
        assert_eq!(parse_group("4294967295"), Ok(u32::MAX));
        assert!(parse_user("no such user").is_err());
        assert_eq!(parse_mode("0660"), Ok(0o660));
        assert!(parse_mode("999").is_err());
        assert!(parse_mode("1777").is_err());
    }
}

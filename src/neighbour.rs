//! A Duplex of the same user that runs on this machine already, for whoever starts a second one.
//!
//! In: the kernel's list of Unix sockets, and what a service says of itself over its control socket. Out: where it is.
//! Never: a word with a socket of another user's; a longer wait than [`PATIENCE`]; anything changed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::cli_owner::{self, Question};
use crate::control::{self, Request, Told};

/// Longest wait for the services' answers; all are asked at once. One that hangs has its health looked at for three seconds first, and is no news then.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A running service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its state folder.
    pub folder: PathBuf,
    /// Where its page is, the likeliest to work from elsewhere first; none where it does not answer.
    pub addresses: Vec<String>,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Duplex already runs here")?;
        if !self.addresses.is_empty() {
            write!(f, ": {}", cli_owner::addresses(&self.addresses))?;
        }
        write!(f, " (state folder {})", self.folder.display())
    }
}

impl Neighbour {
    /// The service that has this state folder.
    pub async fn in_folder(state: &Path) -> Self {
        Self { folder: state.to_owned(), addresses: addresses_of(state).await }
    }

    /// The service whose page is on this port.
    pub async fn on_port(port: u16) -> Option<Self> {
        let list = fs::read_to_string(SOCKETS).unwrap_or_default();
        Self::first_on_port(port, folders(&list).into_iter().filter(|folder| is_own(&control::socket(folder)))).await
    }

    async fn first_on_port(port: u16, folders: impl Iterator<Item = PathBuf>) -> Option<Self> {
        let mut asked: FuturesUnordered<_> =
            folders.map(|folder| async move { Self::in_folder(&folder).await }).collect();
        while let Some(one) = asked.next().await {
            if one.addresses.iter().any(|address| port_of(address) == Some(port)) {
                return Some(one);
            }
        }
        None
    }
}

/// Unix sockets that have an address.
const SOCKETS: &str = "/proc/net/unix";

async fn addresses_of(state: &Path) -> Vec<String> {
    let request = Request::Owner { question: Question::Status };
    match tokio::time::timeout(PATIENCE, control::ask(state, &request)).await {
        // One of another version may tell less.
        Ok(Ok(Told::Owner(mut told))) => {
            let addresses = told.get_mut("addresses").map(serde_json::Value::take);
            addresses.and_then(|addresses| serde_json::from_value(addresses).ok()).unwrap_or_default()
        }
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(error)) => {
            tracing::debug!(folder = %state.display(), %error, "a running service does not say where it is");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// State folders of the control sockets in the kernel's list.
fn folders(list: &str) -> BTreeSet<PathBuf> {
    // The path is what follows the first blank before a slash; abstract and relative addresses have none.
    let paths =
        list.lines().filter_map(|line| line.split_once(" /")).map(|(_, rest)| PathBuf::from(format!("/{rest}")));
    paths.filter_map(|path| Some(path.parent()?.to_owned()).filter(|folder| control::socket(folder) == path)).collect()
}

/// Whether a file is of the user that this process runs as.
fn is_own(file: &Path) -> bool {
    let of = |path: &Path| fs::metadata(path).map(|facts| facts.uid());
    matches!((of(file), of(Path::new("/proc/self"))), (Ok(whose), Ok(own)) if whose == own)
}

fn port_of(address: &str) -> Option<u16> {
    address.trim_end_matches('/').rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[test]
    fn state_folders_are_found_by_their_sockets() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01   123 /home/a b/state/control.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 45678 /home/a b/state/control.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 45679 /run/other.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 45680 state/control.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 45681 @/x/control.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 45682\n";
        assert_eq!(folders(list).into_iter().collect::<Vec<_>>(), [PathBuf::from("/home/a b/state")]);
    }

    #[tokio::test]
    async fn one_that_hangs_holds_up_nobody() {
        let parent = tempfile::tempdir().unwrap();
        let folders = ["a", "b", "c"].map(|name| parent.path().join(name));
        let listeners = folders.each_ref().map(|folder| {
            fs::create_dir(folder).unwrap();
            tokio::net::UnixListener::bind(control::socket(folder)).unwrap()
        });
        let serve = async {
            let (mut stream, _) = listeners[2].accept().await.unwrap();
            stream
                .write_all(b"{\"error\":null,\"told\":{\"addresses\":[\"https://localhost:4711/\"]}}\n")
                .await
                .unwrap();
            // The others never answer.
            std::future::pending::<()>().await;
        };
        let asked = tokio::time::timeout(PATIENCE, Neighbour::first_on_port(4711, folders.clone().into_iter()));
        let found = tokio::select! {
            found = asked => found.expect("in less time than one that hangs may take"),
            () = serve => unreachable!(),
        };
        let addresses = vec!["https://localhost:4711/".to_owned()];
        assert_eq!(found, Some(Neighbour { folder: folders[2].clone(), addresses }));
    }

    #[test]
    fn it_is_told_with_the_addresses_for_elsewhere_and_for_here() {
        let at = |addresses: &[&str]| {
            let addresses = addresses.iter().map(ToString::to_string).collect();
            Neighbour { folder: "/s".into(), addresses }.to_string()
        };
        assert_eq!(at(&[]), "Duplex already runs here (state folder /s)");
        assert_eq!(
            at(&["https://box.local:8443/", "https://192.0.2.7:8443/", "https://localhost:8443/"]),
            "Duplex already runs here: https://box.local:8443/ or https://localhost:8443/ (state folder /s)"
        );
        assert_eq!((port_of("https://[::1]:8443/"), port_of("nonsense")), (Some(8443), None));
    }
}

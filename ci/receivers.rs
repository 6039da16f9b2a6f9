//! Load for measurements: many viewers in one process that take media from any WebRTC sender and decode nothing.
//!
//! In: JSON lines on the standard input, one command each. Out: JSON lines on the standard output, one answer each. Never:
//! a decoder; a decrypted packet (the header of RTP is in the clear, and more is not looked at); signalling, which is the
//! caller's; traffic to any but who sent an offer.
//!
//! Each viewer is one socket that answers connectivity checks (ICE lite), does the handshake of DTLS, and then counts. It
//! tells the sender how packets arrive, as a browser does.
//!
//! | command | answer |
//! |---|---|
//! | `{"viewer": NUMBER, "offer": SDP}` | `{"viewer": NUMBER, "answer": SDP}`, with its candidate |
//! | `{"reset": true}` | `{"reset": true}`; counts from now |
//! | `{"report": true}` | `{"report": [...]}`, one for each viewer: see [`rtp::Count`] |
//!
//! `receivers [ADDRESS]`: the address of this machine that senders can reach, 127.0.0.1 if none is given. Ends with its
//! standard input.

#[path = "receivers/answer.rs"]
mod answer;
#[path = "receivers/feedback.rs"]
mod feedback;
#[path = "receivers/handshake.rs"]
mod handshake;
#[path = "receivers/rtp.rs"]
mod rtp;
#[path = "receivers/stun.rs"]
mod stun;
#[path = "receivers/viewer.rs"]
mod viewer;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::IpAddr;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use viewer::Viewer;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let address: IpAddr = match words.as_slice() {
        [] => [127, 0, 0, 1].into(),
        [address] => address.parse()?,
        _ => return Err("usage: receivers [ADDRESS]".into()),
    };
    gst::init()?;
    let mut viewers = BTreeMap::new();
    let mut commands = commands();
    while let Some(line) = commands.recv().await {
        let command: Value = serde_json::from_str(&line)?;
        println!("{}", obey(&command, address, &mut viewers).await?);
    }
    Ok(())
}

async fn obey(command: &Value, address: IpAddr, viewers: &mut BTreeMap<u64, Viewer>) -> Result<Value, Failure> {
    if let (Some(number), Some(offer)) = (command["viewer"].as_u64(), command["offer"].as_str()) {
        let (viewer, answer) = Viewer::new(offer, address).await?;
        viewers.insert(number, viewer);
        return Ok(json!({ "viewer": number, "answer": answer }));
    }
    if command["reset"] == true {
        viewers.values().for_each(Viewer::reset);
        return Ok(json!({ "reset": true }));
    }
    if command["report"] == true {
        return Ok(json!({ "report": viewers.values().map(Viewer::report).collect::<Vec<_>>() }));
    }
    Err(format!("no such command: {command}").into())
}

/// Lines of the standard input, which is read by a thread: it blocks.
fn commands() -> mpsc::UnboundedReceiver<String> {
    let (tx, rx) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        // Nobody listens any more only when the program ends.
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                break;
            }
        }
    });
    rx
}
